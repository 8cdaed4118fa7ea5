"""What an evaluation of a task found, as figures and example by example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlm_jax.evaluation.batching import count_truncated_prompts
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.intervals import wilson
from tlm_jax.evaluation.predictions import Prediction


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


def eval_result(
    eval_set: EvalSet,
    step: int,
    predictions: Sequence[Prediction],
    *,
    nll_nats: float,
    seconds: float,
    path: Path | None,
) -> EvalResult:
    """Returns the figures of a task's predictions.

    Args:
      eval_set: the task.
      step: training steps that the evaluated parameters have had.
      predictions: one an example, in the task's order.
      nll_nats: teacher-forced mean -log p of a target token.
      seconds: wall time.
      path: where the predictions were written; None if nowhere.
    """
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
