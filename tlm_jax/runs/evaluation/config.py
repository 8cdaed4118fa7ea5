"""Configuration of an evaluation: the dataclass that `gin_configs/eval.gin` fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tlm_jax.decoding.stop_strings import check_stop
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import TooLong
from tlm_jax.evaluation.rank_formats import rank_format
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.sharding.mesh import MeshShape

Mode = Literal["greedy", "rank", "self_consistency"]


@dataclass(frozen=True)
class EvalConfig:
    """Checkpoints, tasks, and how questions are answered.

    Attributes:
      output_dir: results.json, report.html and samples/ are written here.
      checkpoints: models of any format; later ones are compared with the first.
      tasks: registered tasks or mixtures, whose names say the format: zero-shot, chain of thought,
        in context.
      split: of the tasks.
      feature_lengths: most tokens of `inputs` and `targets`.
      too_long: what becomes of a prompt that is longer, or that the model's window has no room for:
        an error, or the end of it is kept.
      chat: whether each prompt is asked as a user's message, by the model's chat template, as
        `tlm_jax.infer` does; not with "rank".
      system: a system message before it.
      chat_template: name of one of several templates of the model; None: its default.
      modes: "greedy" decoding; "rank", the most probable option of choice and boolean questions;
        "self_consistency", the majority of `num_samples` samples.
      normalize: for "rank": "none" compares sums of log-probabilities, "tokens" means.
      rank_format: for "rank": "task", the task's prompts and targets, "teacherlm",
        "teacherlm_doubled", "teacherlm_mmlu" or "letter" (`evaluation.rank_formats`).
      rank_context: another template of what comes before the options.
      rank_continuation: another template of an option.
      grading_rule: a rule of `tlm_jax.grade` for all answers; None: the kind that each example
        names. Options are compared as they are.
      num_examples: so many of each task; None means all.
      examples_seed: which ones, a sample that this seed fixes; None: the first.
      batch_size: rows at a time.
      max_decode_tokens: longest generation; None means the targets' feature length.
      stop: texts at which an answer ends, of greedy decoding and of samples.
      num_samples: samples a question.
      temperature: of sampling.
      top_p: the least probable tokens beyond this share are not sampled.
      seed: of sampling.
      training_sets: "TASK:SPLIT" or JSON Lines files of records; test questions found in them are
        reported.
      leave_out_known: whether such questions are left out.
      show_questions: how many of each task and mode can be read in the report; None means all.
      dtype: of activations.
      mesh: devices along data, fsdp and tensor.
      data: where examples come from; its `vocabulary` replaces that beside the checkpoint.
    """

    output_dir: str
    checkpoints: Sequence[str]
    tasks: Sequence[str]
    feature_lengths: Mapping[str, int]
    too_long: TooLong = "error"
    split: str = "test"
    chat: bool = False
    system: str | None = None
    chat_template: str | None = None
    modes: Sequence[Mode] = ("greedy",)
    normalize: Literal["none", "tokens"] = "none"
    rank_format: str = "task"
    rank_context: str | None = None
    rank_continuation: str | None = None
    grading_rule: str | None = None
    num_examples: int | None = None
    examples_seed: int | None = 0
    batch_size: int = 32
    max_decode_tokens: int | None = None
    stop: Sequence[str] = ()
    num_samples: int = 8
    temperature: float = 0.7
    top_p: float = 1.0
    seed: int = 0
    training_sets: Sequence[str] = ()
    leave_out_known: bool = False
    show_questions: int | None = None
    dtype: str = "float32"
    mesh: MeshShape = field(default_factory=MeshShape)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        for name in ("checkpoints", "tasks", "modes"):
            if not getattr(self, name):
                raise UserError(f"EvalConfig.{name} is empty: name at least one")
        for name in ("batch_size", "num_samples", "show_questions"):
            if isinstance(value := getattr(self, name), int) and value < 1:
                raise UserError(f"EvalConfig.{name} is {value}, expected at least 1")
        check_stop(self.stop, "STOP")
        for name in ("system", "chat_template"):
            if getattr(self, name) is not None and not self.chat:
                raise UserError(
                    f"{name.upper()} is set, but prompts are plain text; set CHAT to True"
                )
        if self.chat and "rank" in self.modes:
            raise UserError(
                "CHAT is True, but 'rank' compares options as they follow a task's own text: leave "
                "'rank' out of MODES, or set CHAT to False"
            )
        if isinstance(self.rank_format, str):
            rank_format(self.rank_format, self.rank_context, self.rank_continuation)
        if isinstance(self.grading_rule, str):
            rule_by_name(self.grading_rule)
