"""Samples from a model: a queue of requests through a fixed number of rows, refilled as they end.

    engine = Engine(params, config, rows=8, eos_ids=(1,))
    for sample in engine.run([Request(id=7, prompt=tokens, seeds=range(40))]):
        ...

A prompt is read once for all its samples. Steps run on the device, several a call; the host places
samples, asks stop rules and hands out what has ended. Lengths are rounded up to powers of two, so
that few programs are compiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.decoding import rows as device
from tlm_jax.decoding.buckets import bucket_length
from tlm_jax.decoding.ledger import Ledger
from tlm_jax.decoding.programs import Programs, placing
from tlm_jax.decoding.requests import Request, Sample
from tlm_jax.decoding.running import Running, Waiting
from tlm_jax.errors import UserError
from tlm_jax.sharding import rules
from tlm_jax.types import Params

_LONGEST = 2**30
_MOST_SEED = 2**63


@dataclasses.dataclass
class EngineStats:
    """What an engine has done so far.

    Attributes:
      prompts: read; each once, however many samples it has.
      prompt_tokens: of those.
      samples: ended.
      new_tokens: in ended samples, the part that a stop rule cut off included.
      steps: of all rows together, the first token of each sample not counted.
      compiled: programs.
    """

    prompts: int = 0
    prompt_tokens: int = 0
    samples: int = 0
    new_tokens: int = 0
    steps: int = 0
    compiled: int = 0


class Engine:
    """Generates samples from one model; see the module.

    Args:
      params: the model's parameters; with a mesh, sharded over it.
      config: the model.
      rows: samples decoded at once; a multiple of what the mesh splits a batch into.
      eos_ids: tokens that end a sample.
      max_prompt_tokens: the longest prompt.
      num_candidates: C, how many of the most probable tokens to return at each place.
      steps_per_call: steps on the device before the host looks.
      start_id: the decoder's first token in an encoder-decoder.
      mesh: None means the default device.

    Raises:
      UserError: an argument makes no sense.
    """

    def __init__(
        self,
        params: Params,
        config: models.ModelConfig,
        *,
        rows: int = 8,
        eos_ids: Sequence[int] = (1,),
        max_prompt_tokens: int = 4096,
        num_candidates: int = 0,
        steps_per_call: int = 16,
        start_id: int = 0,
        mesh: Mesh | None = None,
    ):
        divisor = 1 if mesh is None else rules.batch_divisor(mesh)
        if rows < 1 or rows % divisor:
            raise UserError(f"Engine: rows={rows}, expected a multiple of {divisor}")
        if not 0 <= num_candidates <= config.vocab_size:
            raise UserError(
                f"Engine: num_candidates={num_candidates}, expected 0 to {config.vocab_size}"
            )
        if steps_per_call < 1 or max_prompt_tokens < 1:
            raise UserError("Engine: steps_per_call and max_prompt_tokens are at least 1")
        self._params, self._config, self._mesh = params, config, mesh
        self._num_rows, self._start_id = rows, start_id
        self._steps_per_call = steps_per_call
        self._encodes = isinstance(config, models.EncoderDecoderConfig)
        learned = isinstance(config, models.DecoderOnlyConfig)
        self._max_positions = config.max_positions if learned else None
        self.max_prompt_tokens = min(max_prompt_tokens, self._max_positions or _LONGEST)
        self._counts = EngineStats()
        self._programs = Programs(config, tuple(eos_ids), num_candidates, steps_per_call)
        self._eos_ids = frozenset(eos_ids)

    def run(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Yields the samples of all requests, in the order in which they end.

        Requests are taken as rows become free, and checked then.

        Raises:
          UserError: a prompt is empty, too long, or has ids that the model does not know; a seed
            is out of range; no room for the tokens asked for.
        """
        yield from _Run(self, requests).samples()

    def stats(self) -> EngineStats:
        """Returns what has been done so far, by all runs."""
        return dataclasses.replace(self._counts, compiled=self._programs.compiled())

    def _check(self, request: Request) -> None:
        prompt, new = request.prompt, request.sampling.max_new_tokens
        where = f"request {request.id!r}"
        if not len(prompt):
            raise UserError(f"{where}: the prompt is empty; expected at least one token")
        if len(prompt) > self.max_prompt_tokens:
            raise UserError(
                f"{where}: the prompt has {len(prompt)} tokens, the limit is "
                f"{self.max_prompt_tokens}; shorten it or raise max_prompt_tokens"
            )
        if min(prompt) < 0 or max(prompt) >= self._config.vocab_size:
            raise UserError(
                f"{where}: token {max(prompt) if min(prompt) >= 0 else min(prompt)} is not among "
                f"the model's {self._config.vocab_size}; is this its tokenizer?"
            )
        if self._max_positions is not None and len(prompt) + new > self._max_positions:
            raise UserError(
                f"{where}: prompt ({len(prompt)}) and max_new_tokens ({new}) exceed the model's "
                f"{self._max_positions} positions"
            )
        for seed in request.seeds:
            if not 0 <= seed < _MOST_SEED:
                raise UserError(f"{where}: seed {seed} is not in 0 to 2**63 - 1")

    def _batch(self, requests: Sequence[Request]) -> dict[str, jax.Array]:
        """Returns prompts padded to one of few lengths, and to one of few numbers of rows."""
        longest = max(len(request.prompt) for request in requests)
        length = bucket_length(longest, self.max_prompt_tokens)
        shape = (bucket_length(len(requests), self._num_rows, smallest=1), length)
        tokens, real = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for row, request in enumerate(requests):
            tokens[row, : len(request.prompt)] = request.prompt
            real[row, : len(request.prompt)] = 1
        real[len(requests) :, 0] = 1
        if not self._encodes:
            batch = {"decoder_input_tokens": tokens, "decoder_causal_attention": real}
        else:
            starts = np.full((len(tokens), 1), self._start_id, np.int32)
            batch = {
                "encoder_input_tokens": tokens,
                "encoder_segment_ids": real,
                "decoder_input_tokens": starts,
            }
        return {name: jnp.asarray(array) for name, array in batch.items()}

    def _rules(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._mesh is None else rules.use_rules(self._mesh)


class _Run:
    """One call of `Engine.run`: the queue, the rows, and the slots that they write."""

    def __init__(self, engine: Engine, requests: Iterable[Request]):
        self._engine, self._programs = engine, engine._programs
        self._requests = iter(requests)
        self._next = next(self._requests, None)
        self._waiting: list[Waiting] = []
        self._running: dict[int, Running] = {}
        self._state: device.Rows | None = None
        self._ledger = Ledger(window=_generated_window(engine._config))
        self._slots = device.Slots(0, self._ledger.slots)

    def samples(self) -> Iterator[Sample]:
        while self._next is not None or self._waiting or self._running:
            with self._engine._rules():
                ended = self._fill() if self._free() and self._has_work() else []
                if not ended and self._running:
                    ended = self._step()
            counts = self._engine._counts
            for running in ended:
                counts.samples += 1
                counts.new_tokens += len(running.tokens)
                yield running.sample()

    def _free(self) -> list[int]:
        return [row for row in range(self._engine._num_rows) if row not in self._running]

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._next is not None

    def _fill(self) -> list[Running]:
        """Puts waiting samples into free rows. Returns those that ended with their first token."""
        free = self._free()
        self._read(len(free))
        ended = []
        while free and self._waiting:
            prompts = self._waiting[0].prompts
            begun: list[tuple[int, int, Running]] = []
            while free and self._waiting and self._waiting[0].prompts is prompts:
                waiting = self._waiting[0]
                running = Running(waiting.request, waiting.placed)
                begun.append((free.pop(0), waiting.source, running))
                waiting.placed += 1
                if waiting.placed == len(waiting.request.seeds):
                    self._waiting.pop(0)
            ended += self._place(prompts, begun)
        return ended

    def _read(self, wanted: int) -> None:
        """Takes requests until the samples wanted are at hand, and reads their prompts."""
        at_hand = sum(len(w.request.seeds) - w.placed for w in self._waiting)
        taken: list[Request] = []
        while at_hand < wanted and self._next is not None:
            request, self._next = self._next, next(self._requests, None)
            if len(request.seeds):
                self._engine._check(request)
                taken.append(request)
                at_hand += len(request.seeds)
        if not taken:
            return
        prompts = self._programs.read_prompts(self._engine._params, self._engine._batch(taken))
        self._waiting += [Waiting(request, prompts, row) for row, request in enumerate(taken)]
        counts = self._engine._counts
        counts.prompts += len(taken)
        counts.prompt_tokens += sum(len(request.prompt) for request in taken)

    def _place(
        self, prompts: device.Prompts, begun: list[tuple[int, int, Running]]
    ) -> list[Running]:
        state = self._with_room(prompts)
        penalty = any(r.request.sampling.repetition_penalty != 1 for _, _, r in begun)
        if penalty and state.seen is None:
            shape = (self._engine._num_rows, prompts.logits.shape[-1])
            state = state._replace(seen=jnp.zeros(shape, bool))
        placed = placing(begun, self._engine._num_rows)
        self._state, chosen = self._programs.place(state, prompts, placed)
        for row, _, running in begun:
            self._running[row] = running
            running.start = self._ledger.step
        return self._hand_out(jax.device_get(chosen), None)

    def _with_room(self, prompts: device.Prompts) -> device.Rows:
        """Returns the rows with at least as many prompt slots as the prompts have."""
        prompt = prompts.cache["slot_mask"].shape[1]
        cross = prompts.cache["cross_mask"].shape[1] if self._engine._encodes else 0
        has = self._slots
        if self._state is None or (
            not self._running and (prompt, cross) != (has.prompt, has.cross)
        ):
            # Nothing to keep: as short as these prompts allow.
            self._ledger.restart()
            self._slots = device.Slots(prompt, self._ledger.slots, cross)
            rows = self._engine._num_rows
            self._state = self._programs.empty(prompts, rows, self._slots.generated)
        else:
            self._grow(device.Slots(max(prompt, has.prompt), has.generated, max(cross, has.cross)))
        assert self._state is not None
        return self._state

    def _grow(self, slots: device.Slots) -> None:
        if slots != self._slots:
            self._state = self._programs.resize(self._state, self._slots, slots)
            self._slots = slots

    def _step(self) -> list[Running]:
        """Runs some steps. Returns the samples that ended."""
        engine = self._engine
        longest = max(running.remaining() for running in self._running.values())
        wanted = min(engine._steps_per_call, longest)
        oldest = min(running.start for running in self._running.values())
        first, number = self._ledger.claim(wanted, oldest)
        self._grow(self._slots._replace(generated=self._ledger.slots))
        # While others wait, whoever ends makes room at once.
        fewest_live = len(self._running) if self._has_work() else 1
        self._state, chosen, made = self._programs.steps(
            engine._params, self._state, self._slots.prompt + first, number, fewest_live
        )
        chosen, made = jax.device_get((chosen, made))
        self._ledger.used(first, int(made))
        engine._counts.steps += int(made)
        return self._hand_out(chosen, int(made))

    def _hand_out(self, chosen: device.Chosen, made: int | None) -> list[Running]:
        """Gives the rows their tokens. Returns the samples that ended, their rows free again."""
        if made is None:
            chosen = jax.tree.map(lambda array: array[None], chosen)
            made = 1
        ended, stopped = [], []
        for row, running in list(self._running.items()):
            tokens = chosen.tokens[:made, row]
            got = int(np.sum(tokens >= 0))
            running.extend(jax.tree.map(lambda array, row=row, got=got: array[:got, row], chosen))
            if running.ended(self._engine._eos_ids):
                ended.append(running)
                del self._running[row]
                stopped.append(row)
        if stopped:
            assert self._state is not None
            live = np.zeros(self._engine._num_rows, bool)
            live[list(self._running)] = True
            self._state = self._state._replace(live=jnp.asarray(live))
        return ended


def _generated_window(config: models.ModelConfig) -> int | None:
    """Returns how many tokens back any layer looks, where all layers have a window."""
    if isinstance(config, models.EncoderDecoderConfig) or config.attention_window is None:
        return None
    flags = config.windowed_layers
    return config.attention_window if flags is None or all(flags) else None
