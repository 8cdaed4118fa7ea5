"""Configuration of an import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tlm_jax.data.teacher_imports import codex
from tlm_jax.data.teacher_imports.openai_logprobs import ROUNDING_NATS
from tlm_jax.errors import UserError
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.vocabularies import Vocabulary

SOURCES = ("openai", "codex", "codex_pickles", "samples")


@dataclass(frozen=True)
class ImportConfig:
    """One import.

    Attributes:
      source: one of `SOURCES`.
      files: to be read; of "codex_pickles" the directories that hold them.
      output_dir: the cache; an import into one that is there adds to it.
      teacher: its name. Rows of different names do not mix.
      questions: of "openai", where answers do not say what was asked.
      vocabulary: of "samples", the tokenizer of the model that drew them, or its name.
      only_correct: leave out solutions that are wrong or cannot be graded.
      grading_rule: of `tlm_jax.grade`, for solutions that do not say whether they are right.
      end_tokens: of "openai", names of tokens that end a text, beside those that are known.
      keep_unfinished: keep those that a limit of their length cut off.
      num_candidates: most candidates a token; None: as many as some step has.
      temperature: of the log-probabilities.
      compression: "none" or "zstd".
      rows_per_shard: rows of a file.
      only: ids of the solutions to be kept, whatever their grades; None: all that pass.
    """

    source: str
    files: tuple[Path, ...]
    output_dir: Path
    teacher: str
    questions: Path | None = None
    vocabulary: Vocabulary | str | None = None
    only_correct: bool = False
    grading_rule: str | None = None
    keep_unfinished: bool = False
    end_tokens: tuple[str, ...] = ()
    num_candidates: int | None = None
    temperature: float = 1.0
    compression: str = "none"
    rows_per_shard: int = 1024
    only: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.grading_rule is not None:
            rule_by_name(self.grading_rule)
        if (self.vocabulary is not None) != (self.source == "samples"):
            raise UserError(
                "samples need --vocabulary, the tokenizer of the model that drew them"
                if self.vocabulary is None
                else f"--vocabulary is for samples; {self.source} brings texts of tokens"
            )
        if self.questions is not None and self.source != "openai":
            raise UserError(f"--questions is for openai; {self.source} says what was asked")
        if self.end_tokens and self.source != "openai":
            raise UserError(f"--end_token is for openai; {self.source} brings no names of tokens")

    @property
    def rounding(self) -> float:
        """How far each probability may be off."""
        return codex.ROUNDING if self.source.startswith("codex") else 0.0

    @property
    def rounding_nats(self) -> float:
        """How far each log-probability may be off."""
        return ROUNDING_NATS if self.source == "openai" else 0.0
