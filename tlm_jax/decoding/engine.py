"""Samples from a model: a queue of requests through a fixed number of rows, refilled as they end.

    engine = Engine(params, config, rows=8, eos_ids=(1,))
    for sample in engine.run([Request(id=7, prompt=tokens, seeds=range(40))]):
        ...

A prompt is read once for all its samples, and those that are decoded together share its keys and
values. What many prompts begin with, such as the demonstrations of a few-shot prompt, is read once
for all of them (`prefixes` of `Engine.run`). Steps run on the device, several a call; the host
places samples, asks stop rules and hands out what has ended (`scheduler`). Lengths are rounded up
to few sizes, so that few programs are compiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.decoding.board import Board
from tlm_jax.decoding.buckets import bucket_length, prefix_bucket
from tlm_jax.decoding.common_prefixes import TokenPrefix, by_prefix
from tlm_jax.decoding.programs import Programs
from tlm_jax.decoding.requests import Request, Sample
from tlm_jax.decoding.scheduler import EngineStats, Scheduler
from tlm_jax.errors import UserError
from tlm_jax.sharding import rules
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.types import Params

_LONGEST = 2**30
_MOST_SEED = 2**63
_TILED_ROWS = 16
"""With more rows, products are bound by arithmetic, not by reading kernels."""
_TILED_BYTES = 4 * 2**30
"""Larger models are not held twice."""


class Engine:
    """Generates samples from one model; see the module.

    Args:
      params: the model's parameters; with a mesh, sharded over it. Of scanned layers the engine
        makes a copy with each layer's arrays on their own; on a CPU it has another copy of a small
        model's kernels, laid out for steps of few rows.
      config: the model.
      rows: samples decoded at once; a multiple of what the mesh splits a batch into.
      eos_ids: tokens that end a sample.
      max_prompt_tokens: the longest prompt.
      num_candidates: C, how many of the most probable tokens to return at each place.
      steps_per_call: steps on the device before the host looks.
      start_id: the decoder's first token in an encoder-decoder.
      mesh: None means the default device.
      compiled: programs of earlier engines, which one of the same model and settings takes over.

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
        compiled: ProgramCache | None = None,
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
        self._mesh, self._start_id = mesh, start_id
        decided = (config, tuple(eos_ids), num_candidates, steps_per_call, rows)
        self._programs = (compiled or ProgramCache()).get(
            (Programs, *decided, mesh), lambda: Programs(*decided)
        )
        with self._rules():
            self._params = self._programs.unroll(params) if config.scan_layers else params
        self._step_params = self._params
        if _tiles_pay(self._params, config, rows, mesh):
            self._step_params = models.tile_kernels(self._params, config)
        self._config = config = dataclasses.replace(config, scan_layers=False)
        self._encodes = config.is_encoder_decoder
        self._max_positions = config.position_limit
        self.max_prompt_tokens = min(max_prompt_tokens, self._max_positions or _LONGEST)
        self._counts = EngineStats()
        self._shards, self._eos_ids = divisor, frozenset(eos_ids)

    def run(
        self, requests: Iterable[Request], prefixes: Sequence[Sequence[int]] = ()
    ) -> Iterator[Sample]:
        """Yields the samples of all requests, in the order in which they end.

        Requests are taken as rows become free, and checked then.

        Args:
          requests: what is wanted. With prefixes they are looked at at once, and those of one
            prefix are done before those of the next.
          prefixes: token ids that many prompts begin with, as `common_prefixes` finds them. Each is
            worked on once, and its keys and values are held once for all rows that go on from it.
            Samples are those of the whole prompts. Only a causal decoder-only model can use them;
            in an encoder-decoder and in a prefix language model, where what follows a token
            changes its keys and values, they change nothing.

        Raises:
          UserError: a prompt is empty, too long, or has ids that the model does not know; a seed
            is out of range; no room for the tokens asked for.
        """
        usable = prefixes if self._config.is_causal else ()
        for prefix, some in by_prefix(requests, usable, lambda request: request.prompt):
            yield from self._run(some, prefix)

    def _run(self, requests: Iterable[Request], prefix: TokenPrefix) -> Iterator[Sample]:
        board = Board(
            self._programs,
            self._params,
            self._step_params,
            self._config,
            self._tokens([prefix], (1, prefix_bucket(len(prefix)))) if prefix else None,
        )
        scheduler = Scheduler(
            board,
            requests,
            check=self._check,
            batch=functools.partial(self._batch, skipped=len(prefix)),
            prefix_tokens=len(prefix),
            eos_ids=self._eos_ids,
            shards=self._shards,
            counts=self._counts,
        )
        while scheduler.has_work():
            with self._rules():
                ended = scheduler.go_on()
            for running in ended:
                yield running.sample()

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

    def _batch(self, requests: Sequence[Request], *, skipped: int) -> dict[str, jax.Array]:
        """Returns prompts padded to one of few lengths, and to one of few numbers of rows.

        Of each the first `skipped` tokens, its prefix, are left out.
        """
        prompts = [request.prompt[skipped:] for request in requests]
        length = bucket_length(max(map(len, prompts)), self.max_prompt_tokens - skipped)
        rows = bucket_length(len(prompts), self._programs.rows, smallest=1)
        return self._tokens(prompts, (rows, length))

    def _tokens(
        self, prompts: Sequence[Sequence[int]], shape: tuple[int, int]
    ) -> dict[str, jax.Array]:
        tokens, real = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
            real[row, : len(prompt)] = 1
        real[len(prompts) :, 0] = 1
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


def _tiles_pay(params: Params, config: models.ModelConfig, rows: int, mesh: Mesh | None) -> bool:
    """Tells whether steps are quicker with `tile_kernels`, and memory allows it."""
    on_cpu = mesh is None and jax.default_backend() == "cpu" and config.dtype == "float32"
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return on_cpu and rows <= _TILED_ROWS and size <= _TILED_BYTES
