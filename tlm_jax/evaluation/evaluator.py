"""Evaluation in the loop: decode held-out prompts, grade the answers, score the targets."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.data.sources import Example
from tlm_jax.decoding.generate import Decoded
from tlm_jax.decoding.greedy import Decoder, jit_greedy
from tlm_jax.decoding.stop_strings import StopStrings
from tlm_jax.evaluation.batching import EvalBatch, count_truncated_prompts, eval_batches
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.grading import grade_example
from tlm_jax.evaluation.intervals import wilson
from tlm_jax.evaluation.predictions import Prediction, write_predictions
from tlm_jax.scoring.nll import target_nll
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.types import Params
from tlm_jax.vocabularies import Vocabulary

Progress = Callable[[str, int, int], None]
"""`progress(task, examples_done, examples_in_all)`."""


@dataclass(frozen=True)
class EvalResult:
    """What one evaluation of one task found.

    Attributes:
      task: its name.
      step: training steps that the evaluated parameters have had.
      num_examples: how many were decoded.
      num_graded: how many of them have a right answer.
      num_correct: how many of those were answered rightly.
      accuracy_interval: 95 % Wilson interval of `accuracy`.
      unparsable_share: share of the graded whose text held no answer of the right kind.
      truncated_prompt_share: share whose prompt was cut to the feature length.
      mean_length_tokens: mean number of generated tokens, EOS included.
      nll_nats: teacher-forced mean -log p of a target token.
      seconds: wall time.
      predictions: one an example, in the task's order.
      path: where they were written; None if nowhere.
    """

    task: str
    step: int
    num_examples: int
    num_graded: int
    num_correct: int
    accuracy_interval: tuple[float, float]
    unparsable_share: float
    truncated_prompt_share: float
    mean_length_tokens: float
    nll_nats: float
    seconds: float
    predictions: Sequence[Prediction]
    path: Path | None

    @property
    def accuracy(self) -> float | None:
        """Share of the graded examples answered rightly; None if none has a right answer."""
        return self.num_correct / self.num_graded if self.num_graded else None

    @property
    def perplexity(self) -> float:
        """exp(nll_nats); infinity where that overflows."""
        return math.exp(self.nll_nats) if self.nll_nats < 700 else math.inf

    def metrics(self) -> dict[str, float]:
        """Returns the figures under the names that metrics files use."""
        figures = {
            "nll_nats": self.nll_nats,
            "perplexity": self.perplexity,
            "mean_length_tokens": self.mean_length_tokens,
            "truncated_prompt_share": self.truncated_prompt_share,
            "num_examples": float(self.num_examples),
            "seconds": self.seconds,
        }
        if self.accuracy is not None:
            figures |= {
                "accuracy": self.accuracy,
                "accuracy_low": self.accuracy_interval[0],
                "accuracy_high": self.accuracy_interval[1],
                "unparsable_share": self.unparsable_share,
            }
        return figures


class Evaluator:
    """Evaluates parameters on held-out tasks; compiled once, called many times.

    Prompts are sorted by length into batches of one size, padded to few lengths, so that decoding
    compiles a handful of times. Rows added to fill the last batch count nowhere. With several
    hosts each decodes its own rows; every host returns the same results and process 0 writes.
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
                lambda params, batch: target_nll(params, batch, config, chunk_tokens=chunk_tokens)
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
        for batch in eval_batches(eval_set, self._config, self._batch_size):
            decoded = decode(params, self._on_devices(batch.prompts))
            nll = self._target_nll(params, self._on_devices(batch.targets))
            nll_nats += float(nll.total)
            target_tokens += float(nll.weight)
            decoded = _on_host(decoded)
            predictions |= _predictions(eval_set, batch, decoded, self._grading_rule, stop)
            self._progress(eval_set.task, len(predictions), len(eval_set.examples))
        ordered = [predictions[index] for index in range(len(eval_set.examples))]
        path = self._write(eval_set.task, step, ordered)
        return _result(
            eval_set,
            step,
            ordered,
            nll_nats=nll_nats / max(target_tokens, 1.0),
            seconds=time.perf_counter() - start,
            path=path,
        )

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


def _result(
    eval_set: EvalSet,
    step: int,
    predictions: Sequence[Prediction],
    *,
    nll_nats: float,
    seconds: float,
    path: Path | None,
) -> EvalResult:
    graded = [p for p in predictions if p.correct is not None]
    correct = sum(p.correct is True for p in graded)
    return EvalResult(
        task=eval_set.task,
        step=step,
        num_examples=len(predictions),
        num_graded=len(graded),
        num_correct=correct,
        accuracy_interval=wilson(correct, len(graded)),
        unparsable_share=_mean([p.extracted is None for p in graded]),
        truncated_prompt_share=count_truncated_prompts(eval_set) / len(eval_set.examples),
        mean_length_tokens=_mean([p.length_tokens for p in predictions]),
        nll_nats=nll_nats,
        seconds=seconds,
        predictions=predictions,
        path=path,
    )


def _mean(values: Sequence[float | int]) -> float:
    return sum(values) / len(values) if values else 0.0
