"""Decides which samples go into which rows, and hands out those that have ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence

import jax
import numpy as np

from tlm_jax.decoding.board import Board, Seat
from tlm_jax.decoding.groups import Groups, group_size
from tlm_jax.decoding.requests import Request
from tlm_jax.decoding.rows import Chosen
from tlm_jax.decoding.running import Running, Waiting
from tlm_jax.types import Batch


@dataclasses.dataclass
class EngineStats:
    """What an engine has done so far.

    Attributes:
      prompts: read; each once, however many samples it has.
      prompt_tokens: of those, worked on; a prefix that prompts share counts once.
      reused_tokens: of those, worked on before, for the first prompt with the same prefix.
      samples: ended.
      new_tokens: in ended samples, the part that a stop rule cut off included.
      steps: of all rows together, the first token of each sample not counted.
      compiled: programs.
    """

    prompts: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    samples: int = 0
    new_tokens: int = 0
    steps: int = 0
    compiled: int = 0


class Scheduler:
    """One queue of requests.

    Args:
      board: the rows.
      requests: taken as rows become free.
      check: raises where a request makes no sense.
      batch: makes a batch of prompts, of what follows their prefix.
      prefix_tokens: how many tokens all prompts begin with, which the board reads once.
      eos_ids: tokens that end a sample.
      shards: over how many devices rows are split; groups are not torn apart.
      counts: what has been done, added to.
    """

    def __init__(
        self,
        board: Board,
        requests: Iterable[Request],
        *,
        check: Callable[[Request], None],
        batch: Callable[[Sequence[Request]], Batch],
        prefix_tokens: int,
        eos_ids: Collection[int],
        shards: int,
        counts: EngineStats,
    ):
        self._board, self._check, self._batch = board, check, batch
        self._eos_ids, self._shards, self._counts = eos_ids, shards, counts
        self._prefix_tokens, self._prefix_read = prefix_tokens, False
        self._requests = iter(requests)
        self._next = next(self._requests, None)
        self._waiting: list[Waiting] = []
        self._running: dict[int, Running] = {}
        self._groups = Groups(board.rows, 1)

    def has_work(self) -> bool:
        """Tells whether samples are waiting or running."""
        return self._others_wait() or bool(self._running)

    def go_on(self) -> list[Running]:
        """Fills free rows, or runs some steps. Returns the samples that ended."""
        free = len(self._running) < self._board.rows
        ended = self._fill() if free and self._others_wait() else []
        if not ended and self._running:
            ended = self._step()
        self._counts.samples += len(ended)
        self._counts.new_tokens += sum(len(running.tokens) for running in ended)
        return ended

    def _others_wait(self) -> bool:
        return bool(self._waiting) or self._next is not None

    def _fill(self) -> list[Running]:
        """Puts waiting samples into free rows. Returns those that ended with their first token."""
        if not self._running:
            self._regroup()
        seats, new_groups = self._seats()
        self._read([waiting for _, waiting, _ in seats])
        self._waiting = [waiting for waiting in self._waiting if waiting.left()]
        self._groups.forget_placed()
        ended: list[Running] = []
        for prompts in {id(waiting.prompts): waiting.prompts for _, waiting, _ in seats}.values():
            assert prompts is not None
            here = [seat for seat in seats if seat.waiting.prompts is prompts]
            groups = {
                group: waiting.source
                for group, waiting in new_groups.items()
                if waiting.prompts is prompts
            }
            chosen = self._board.place(
                prompts, here, groups, len(self._groups.prompts), alone=not self._running
            )
            for row, _, running in here:
                self._running[row] = running
                running.start = self._board.step
            ended += self._hand_out(chosen, None)
        return ended

    def _regroup(self) -> None:
        """Chooses, while no row is in use, how many rows share a prompt."""
        rows = self._board.rows
        self._groups = Groups(rows, 1)
        self._take(rows)
        left = [waiting.left() for waiting in self._waiting]
        others_wait = self._next is not None or sum(left) > rows
        size = group_size(rows // self._shards, min(left, default=1), others_wait=others_wait)
        self._groups = Groups(rows, size)

    def _seats(self) -> tuple[list[Seat], dict[int, Waiting]]:
        """Returns who sits down where, and which groups get another prompt."""
        groups = self._groups
        seats: list[Seat] = []
        new_groups: dict[int, Waiting] = {}
        idle = []
        for group, waiting in enumerate(groups.prompts):
            free = groups.free(group, self._running)
            if waiting is not None and waiting.left():
                seats += _seated(free, waiting)
            elif len(free) == groups.size:
                idle.append(group)
        self._take(len(idle))
        for group in idle:
            waiting = self._next_prompt()
            groups.prompts[group] = waiting
            if waiting is not None:
                new_groups[group] = waiting
                seats += _seated(groups.free(group, self._running), waiting)
        return seats, new_groups

    def _take(self, groups: int) -> None:
        """Takes requests until there are enough for as many groups."""
        wanted = groups - sum(self._wants(waiting) for waiting in self._waiting)
        while wanted > 0 and self._next is not None:
            request, self._next = self._next, next(self._requests, None)
            if len(request.seeds):
                self._check(request)
                self._waiting.append(Waiting(request))
                wanted -= self._wants(self._waiting[-1])

    def _wants(self, waiting: Waiting) -> int:
        """Returns how many groups a prompt should get, if there are others.

        One is better than several, whose last samples leave more rows idle.
        """
        if self._groups.size == 1:
            return waiting.left()
        return int(not self._groups.have(waiting))

    def _next_prompt(self) -> Waiting | None:
        left = [waiting for waiting in self._waiting if waiting.left()]
        wanting = [waiting for waiting in left if self._wants(waiting)]
        if wanting:
            return wanting[0]
        return max(left, key=Waiting.left, default=None)

    def _read(self, seated: Sequence[Waiting]) -> None:
        """Reads the prompts that have not been read yet, all at once."""
        new = {id(waiting): waiting for waiting in seated if waiting.prompts is None}
        if not new:
            return
        requests = [waiting.request for waiting in new.values()]
        prompts = self._board.read(self._batch(requests))
        for source, waiting in enumerate(new.values()):
            waiting.prompts, waiting.source = prompts, source
        self._counts.prompts += len(requests)
        reused = self._prefix_tokens * (len(requests) - (not self._prefix_read))
        self._prefix_read = True
        self._counts.prompt_tokens += sum(len(request.prompt) for request in requests) - reused
        self._counts.reused_tokens += reused

    def _step(self) -> list[Running]:
        """Runs some steps. Returns the samples that ended."""
        longest = max(running.remaining() for running in self._running.values())
        oldest = min(running.start for running in self._running.values())
        # While others wait, whoever ends makes room at once.
        fewest_live = len(self._running) if self._others_wait() else 1
        chosen, made = self._board.go(longest, oldest, fewest_live)
        self._counts.steps += made
        return self._hand_out(chosen, made)

    def _hand_out(self, chosen: Chosen, made: int | None) -> list[Running]:
        """Gives the rows their tokens. Returns the samples that ended, their rows free again."""
        if made is None:
            chosen = jax.tree.map(lambda array: array[None], chosen)
            made = 1
        ended = []
        for row, running in list(self._running.items()):
            tokens = chosen.tokens[:made, row]
            got = int(np.sum(tokens >= 0))
            running.extend(jax.tree.map(lambda array, row=row, got=got: array[:got, row], chosen))
            if running.ended(self._eos_ids):
                ended.append(running)
                del self._running[row]
        if ended:
            self._board.keep_live(self._running)
        return ended


def _seated(free: Sequence[int], waiting: Waiting) -> list[Seat]:
    """Returns as many of a prompt's samples as there are free rows, in them."""
    seats = []
    for row in free[: waiting.left()]:
        seats.append(Seat(row, waiting, Running(waiting.request, waiting.placed)))
        waiting.placed += 1
    return seats
