"""Evaluation in the loop: decode held-out prompts, grade the answers, score the targets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.data.sources import Example
from tlm_jax.decoding.common_prefixes import TokenPrefix, padded_prefix
from tlm_jax.decoding.generate import Decoded
from tlm_jax.decoding.greedy import Decoder, jit_greedy
from tlm_jax.decoding.stop_strings import StopStrings
from tlm_jax.evaluation.batching import EvalBatch, eval_batches
from tlm_jax.evaluation.eval_result import EvalResult, eval_result
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.grading import grade_example
from tlm_jax.evaluation.predictions import Prediction, write_predictions
from tlm_jax.scoring.nll import target_nll
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.types import Params
from tlm_jax.vocabularies import Vocabulary

Progress = Callable[[str, int, int], None]
"""`progress(task, examples_done, examples_in_all)`."""


class Evaluator:
    """Evaluates parameters on held-out tasks; compiled once, called many times.

    Prompts are sorted by length into batches of one size, padded to few lengths, so that decoding
    compiles a handful of times. What many prompts of a causal decoder-only model begin with, such
    as demonstrations, is worked on once. Rows added to fill the last batch count nowhere. With
    several hosts each decodes its own rows; all return the same results and process 0 writes.
    """

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        config: models.ModelConfig,
        *,
        max_decode_steps: int,
        batch_size: int,
        output_dir: Path | None = None,
        mesh: Mesh | None = None,
        rules: sharding_rules.Rules = sharding_rules.LOGICAL_AXIS_RULES,
        chunk_tokens: int = 1024,
        grading_rule: str | None = None,
        eos_ids: Sequence[int] = (),
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        compiled: ProgramCache | None = None,
    ):
        """Prepares an evaluation; nothing is compiled or run yet.

        Args:
          eval_sets: the tasks; the same on every host.
          config: the model.
          max_decode_steps: most tokens generated for an example.
          batch_size: rows decoded at a time, rounded up to what the mesh divides.
          output_dir: predictions go to `output_dir/TASK/step_N.jsonl`; None writes none.
          mesh: where parameters live; None for a single device.
          rules: how batches lie on the mesh.
          chunk_tokens: how many tokens' logits exist at a time when targets are scored.
          grading_rule: for all answers; None means the kind that each example names.
          eos_ids: tokens that end a text beside its vocabulary's EOS.
          stop: texts at which an answer ends; they are no part of it.
          progress: told after each batch.
          compiled: programs that runs in this process share.
        """
        self._eval_sets, self._grading_rule, self._stop = eval_sets, grading_rule, stop
        self._config = config
        self._output_dir = output_dir
        self._mesh, self._rules = mesh, rules
        self._progress = progress or (lambda task, done, total: None)
        divisor = sharding_rules.batch_divisor(mesh, rules) if mesh is not None else 1
        self._batch_size = -(-batch_size // divisor) * divisor
        compiled = compiled or ProgramCache()

        def decoder(eos_id: int) -> Decoder:
            ends = tuple(dict.fromkeys((eos_id, *eos_ids)))
            return compiled.get(
                (jit_greedy, config, max_decode_steps, ends, mesh, rules),
                lambda: jit_greedy(config, max_decode_steps=max_decode_steps, eos_ids=ends),
            )

        ends = {eval_set.vocabulary.eos_id for eval_set in eval_sets}
        self._decoders = {eos_id: decoder(eos_id) for eos_id in ends}
        self._target_nll = compiled.get(
            (target_nll, config, chunk_tokens, mesh, rules),
            lambda: jax.jit(
                lambda params, batch, prefix: target_nll(
                    params, batch, config, chunk_tokens=chunk_tokens, prefix=prefix
                )
            ),
        )
        self._read_prefix = compiled.get(
            (models.read_prefix, config, mesh, rules),
            lambda: jax.jit(
                lambda params, tokens, mask: models.read_prefix(params, tokens, mask, config)
            ),
        )

    def evaluate(self, params: Params, step: int) -> list[EvalResult]:
        """Evaluates every task; `step` names the predictions' file.

        Raises:
          UserError: the predictions cannot be written.
        """
        with self._sharded():
            return [self._evaluate(eval_set, params, step) for eval_set in self._eval_sets]

    def _evaluate(self, eval_set: EvalSet, params: Params, step: int) -> EvalResult:
        start = time.perf_counter()
        decode = self._decoders[eval_set.vocabulary.eos_id]
        predictions: dict[int, Prediction] = {}
        nll_nats = target_tokens = 0.0
        stop = StopStrings(self._stop, eval_set.vocabulary)
        self._progress(eval_set.task, 0, len(eval_set.examples))
        tokens, prefix = (), None
        for batch in eval_batches(eval_set, self._config, self._batch_size):
            if batch.prefix != tokens:
                tokens, prefix = batch.prefix, self._prefix(params, batch.prefix)
            decoded = decode(params, self._on_devices(batch.prompts), prefix)
            nll = self._target_nll(params, self._on_devices(batch.targets), prefix)
            nll_nats += float(nll.total)
            target_tokens += float(nll.weight)
            decoded = _on_host(decoded)
            predictions |= _predictions(eval_set, batch, decoded, self._grading_rule, stop)
            self._progress(eval_set.task, len(predictions), len(eval_set.examples))
        ordered = [predictions[index] for index in range(len(eval_set.examples))]
        path = self._write(eval_set.task, step, ordered)
        return eval_result(
            eval_set,
            step,
            ordered,
            nll_nats=nll_nats / max(target_tokens, 1.0),
            seconds=time.perf_counter() - start,
            path=path,
        )

    def _prefix(self, params: Params, tokens: TokenPrefix) -> models.Prefix | None:
        """Returns the keys and values of tokens; None of no tokens."""
        return self._read_prefix(params, *padded_prefix(tokens)) if tokens else None

    def _write(self, task: str, step: int, predictions: Sequence[Prediction]) -> Path | None:
        if self._output_dir is None:
            return None
        path = self._output_dir / task / f"step_{step}.jsonl"
        if jax.process_index() == 0:
            write_predictions(path, predictions)
        return path

    def _sharded(self) -> contextlib.AbstractContextManager[None]:
        if self._mesh is None:
            return contextlib.nullcontext()
        return sharding_rules.use_rules(self._mesh, self._rules)

    def _on_devices(self, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Every host holds all rows `[B, ...]` and puts its own on its devices."""
        if self._mesh is None:
            return {name: jax.numpy.asarray(array) for name, array in arrays.items()}
        sharding = sharding_rules.batch_sharding(self._mesh, self._rules)
        return {
            name: jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
            for name, array in arrays.items()
        }


def _on_host(decoded: Decoded) -> Decoded:
    """Returns all rows of all hosts as NumPy arrays."""
    return Decoded(*multihost_utils.process_allgather(tuple(decoded), tiled=True))


def _predictions(
    eval_set: EvalSet, batch: EvalBatch, decoded: Decoded, rule: str | None, stop: StopStrings
) -> Iterator[tuple[int, Prediction]]:
    """Yields (index in the set, prediction) of the rows that hold examples."""
    for row, index in enumerate(batch.indices):
        tokens = np.asarray(decoded.tokens[row, : int(decoded.lengths[row])]).tolist()
        text, kept = stop.read(tokens)
        length = len(tokens) if kept is None else kept
        record = eval_set.examples.records[index]
        gold, extracted, correct = grade_example(record, text, rule)
        yield (
            index,
            Prediction(
                id=eval_set.examples.ids[index],
                prompt=_prompt(record, eval_set.vocabulary),
                prediction=text,
                extracted=extracted,
                gold=gold,
                correct=correct,
                length_tokens=length,
                finished=bool(decoded.finished[row]) or kept is not None,
                logprob_nats=round(float(np.sum(decoded.logprobs[row, :length])), 4),
            ),
        )


def _prompt(record: Example, vocabulary: Vocabulary) -> str:
    inputs = record.get("inputs", "")
    return inputs if isinstance(inputs, str) else vocabulary.decode(inputs.tolist())
