"""The engine's rows on the device, with the slots that they have: filled, grown and stepped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tlm_jax import models
from tlm_jax.decoding.ledger import Ledger
from tlm_jax.decoding.placing import Placing, Room
from tlm_jax.decoding.programs import Programs
from tlm_jax.decoding.prompts import PromptPrefix, Prompts
from tlm_jax.decoding.rows import Chosen, Rows
from tlm_jax.decoding.running import Running, Waiting
from tlm_jax.decoding.samplers import RowSampling, seed_words
from tlm_jax.models.cache import EVERY, WINDOW
from tlm_jax.types import Batch, Params


class Seat(NamedTuple):
    """A sample that begins.

    Attributes:
      row: where.
      waiting: what it is a sample of.
      running: the sample.
    """

    row: int
    waiting: Waiting
    running: Running


class Board:
    """The rows, on the device.

    Args:
      programs: compiled.
      params: the model's parameters, to read prompts.
      step_params: the same, laid out for steps.
      config: the model.
      prefix: tokens that all prompts begin with, as a batch of one row; None where there are none.
        It is read when the first prompts are.
    """

    def __init__(
        self,
        programs: Programs,
        params: Params,
        step_params: Params,
        config: models.ModelConfig,
        prefix: Batch | None = None,
    ):
        self._programs, self._params, self._step_params = programs, params, step_params
        self._prefix_batch = prefix
        self._prefix: PromptPrefix | None = None
        self.rows = programs.rows
        self._window = config.decoder_spec().attention_window
        self._ledgers = {
            name: Ledger(window=self._window if name == WINDOW else None)
            for name in sorted(set(programs.slots))
        }
        self._state: Rows | None = None
        self._room = Room(0, 0, ())
        self._num_groups = 0

    @property
    def step(self) -> int:
        """How many steps there have been."""
        return next(iter(self._ledgers.values())).step

    def read(self, batch: Batch) -> Prompts:
        """Reads prompts, of which the batch has what follows the prefix."""
        return self._programs.read_prompts(self._params, batch, self._before())

    def place(
        self,
        prompts: Prompts,
        seats: Sequence[Seat],
        groups: Mapping[int, int],
        num_groups: int,
        *,
        alone: bool,
    ) -> Chosen:
        """Starts samples, and returns their first tokens.

        Args:
          prompts: theirs.
          seats: at least one.
          groups: the source among the prompts of each group that gets another one.
          num_groups: of all rows.
          alone: whether no other row is in use.
        """
        state = self._with_room(prompts, num_groups, alone)
        penalty = any(seat.running.request.sampling.repetition_penalty != 1 for seat in seats)
        if penalty and state.seen is None:
            shape = (self.rows, prompts.logits.shape[-1])
            state = state._replace(seen=jnp.zeros(shape, bool))
        placing = _placing(seats, groups, self.rows, num_groups)
        self._state, chosen = self._programs.place(state, prompts, placing)
        return jax.device_get(chosen)

    def go(self, most: int, oldest: int, fewest_live: int) -> tuple[Chosen, int]:
        """Runs steps, as many as a call may have and slots are free. Returns tokens and number.

        Args:
          most: more are of no use.
          oldest: the step before which no running sample began.
          fewest_live: ends once fewer rows are live.
        """
        number = min(self._programs.most_steps, most)
        firsts = {}
        for name, ledger in self._ledgers.items():
            firsts[name], number = ledger.claim(number, oldest)
        self._grow(self._room._replace(generated=self._generated()))
        self._state, chosen, made = self._programs.steps(
            self._step_params, self._state, self._before(), firsts, number, fewest_live
        )
        chosen, made = jax.device_get((chosen, made))
        for name, ledger in self._ledgers.items():
            ledger.used(firsts[name], int(made))
        return chosen, int(made)

    def keep_live(self, rows: Collection[int]) -> None:
        """Stops all rows but these."""
        assert self._state is not None
        live = np.zeros(self.rows, bool)
        live[list(rows)] = True
        self._state = self._state._replace(live=jnp.asarray(live))

    def _before(self) -> PromptPrefix | None:
        if self._prefix is None and self._prefix_batch is not None:
            self._prefix = self._programs.read_prefix(self._params, self._prefix_batch)
        return self._prefix

    def _with_room(self, prompts: Prompts, num_groups: int, alone: bool) -> Rows:
        """Returns the rows with at least as many slots as the prompts need."""
        needed, has = _needed(prompts), self._room
        same = needed == has._replace(generated=()) and num_groups == self._num_groups
        if self._state is None or (alone and not same):
            # Nothing to keep: as short as these prompts allow.
            for ledger in self._ledgers.values():
                ledger.restart()
            self._room = needed._replace(generated=self._generated())
            self._num_groups = num_groups
            self._state = self._programs.empty(prompts, num_groups, self._room)
        else:
            self._grow(
                has._replace(
                    prompt=max(has.prompt, needed.prompt),
                    window=max(has.window, needed.window),
                    cross=max(has.cross, needed.cross),
                )
            )
        assert self._state is not None
        return self._state

    def _generated(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, ledger.slots) for name, ledger in self._ledgers.items())

    def _grow(self, room: Room) -> None:
        if room != self._room:
            self._state = self._programs.resize(self._state, room)
            self._room = room


def _needed(prompts: Prompts) -> Room:
    """Returns the slots that prompts fill."""
    sizes = {name: slots.prompt_mask.shape[1] for name, slots in prompts.cache.slots.items()}
    cross = prompts.cache.cross_mask
    return Room(
        prompt=sizes.get(EVERY, 0),
        window=sizes.get(WINDOW, 0),
        generated=(),
        cross=0 if cross is None else cross.shape[1],
    )


def _placing(
    seats: Sequence[Seat], groups: Mapping[int, int], rows: int, num_groups: int
) -> Placing:
    padded = [*seats, *[seats[0]] * (rows - len(seats))]
    settings = [seat.running.request.sampling for seat in padded]

    def column(name: str, kind: Any) -> jax.Array:
        return jnp.asarray([getattr(setting, name) for setting in settings], kind)

    def indices(values: Iterable[int], size: int) -> jax.Array:
        array = np.zeros(size, np.int32)
        given = list(values)
        array[: len(given)] = given
        return jnp.asarray(array)

    return Placing(
        number=jnp.asarray(len(seats), jnp.int32),
        rows=indices((seat.row for seat in seats), rows),
        sources=indices((seat.waiting.source for seat in seats), rows),
        limit=column("max_new_tokens", jnp.int32),
        sampling=RowSampling(
            temperature=column("temperature", jnp.float32),
            top_k=column("top_k", jnp.int32),
            top_p=column("top_p", jnp.float32),
            min_p=column("min_p", jnp.float32),
            repetition_penalty=column("repetition_penalty", jnp.float32),
            seed=jnp.asarray(seed_words([seat.running.seed for seat in padded])),
        ),
        num_groups=jnp.asarray(len(groups), jnp.int32),
        groups=indices(groups.keys(), num_groups),
        group_sources=indices(groups.values(), num_groups),
    )
