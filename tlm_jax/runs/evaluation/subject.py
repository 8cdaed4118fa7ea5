"""A checkpoint under evaluation, and what every mode of answering needs of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from tlm_jax.data.sources import Example
from tlm_jax.data.traits import Trait
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import EvalSet, fit_prompts
from tlm_jax.evaluation.outcomes import Outcome, Question
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.opened.model import OpenedModel


@dataclasses.dataclass(frozen=True)
class Subject:
    """A checkpoint.

    Attributes:
      name: in results.
      model: its parameters are read when the first answer is asked for.
    """

    name: str
    model: OpenedModel

    def longest_prompt(self, config: EvalConfig) -> tuple[int, str]:
        """Returns the most tokens of a prompt, BOS not counted, and what sets the limit.

        Raises:
          UserError: the window has no room for a prompt.
        """
        limit = config.feature_lengths["inputs"]
        # BOS is the first token of the window; targets are scored, answers generated.
        answer = max(config.max_decode_tokens or 0, config.feature_lengths["targets"])
        window = self.model.window
        if window is None or window - 1 - answer >= limit:
            return limit, "TASK_FEATURE_LENGTHS"
        room = window - 1 - answer
        if room < 1:
            raise UserError(
                f"the window of {self.name} has {window:,} tokens, which {answer:,} tokens "
                "of an answer fill; lower MAX_DECODE_TOKENS and TASK_FEATURE_LENGTHS['targets']"
            )
        return room, f"the window of {self.name}, {window:,} tokens with the answer,"

    def fitted(self, eval_set: EvalSet, config: EvalConfig) -> EvalSet:
        """Returns the set with prompts that the model can read.

        Raises:
          UserError: as `fit_prompts`.
        """
        limit, why = self.longest_prompt(config)
        return fit_prompts(eval_set, limit, config.too_long, why)

    def outcome(
        self,
        eval_set: EvalSet,
        mode: str,
        questions: Sequence[Question],
        unreadable: Sequence[str] = (),
    ) -> Outcome:
        """Returns what the mode found, with the counts that every mode has."""
        return Outcome(
            self.name,
            eval_set.task,
            mode,
            tuple(questions),
            ungraded=len(eval_set.examples) - len(questions),
            truncated=eval_set.cut_prompts,
            unreadable=tuple(unreadable),
        )


def text_of(record: Example) -> str:
    """Returns the prompt as text."""
    return str(record.get("inputs", ""))


def traits_of(record: Example) -> dict[str, Trait]:
    """Returns what the record tells of its difficulty; else the words of its prompt."""
    traits = json.loads(str(record.get("traits_json", "null")))
    return traits or {"words": len(text_of(record).split())}
