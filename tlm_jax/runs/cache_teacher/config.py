"""Configuration of a scoring run: the dataclasses that gin_configs/cache_teacher.gin fills in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.errors import UserError
from tlm_jax.runs.inference.config import check_hosts
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.teacher_cache.encoding import Encoding
from tlm_jax.teacher_cache.encodings import encoding_by_name


@dataclass(frozen=True)
class SolutionsConfig:
    """Which texts are scored: the targets of a task, or solutions in a JSON Lines file.

    Attributes:
      file: one object a line, compressed or not: `question`, `prompt` or `messages`; the solution
        in `solution`, `text` or `targets`, or a record with its rationale; `id`, else the number of
        the line, and `sample`; `answer` or `gold`, `kind`, `options`, `correct`. So the samples of
        `tlm_jax.infer` are such a file.
      mixture_or_task_name: a registered task or mixture. With a file, too, the solutions are of
        its questions, found by `id`, and its prompts are what the teacher reads.
      split: of the task.
      num_examples: the first so many of the file or of each task; None means all.
      question_field: where in a line the question is; dotted names go into objects.
      solution_field: likewise; one that goes through a list gives several solutions.
      correct_field: likewise, whether a solution is right.
      only_correct: leave out solutions that are wrong, or cannot be graded.
      grading_rule: a rule of `tlm_jax.grade`, for solutions that do not say whether they are right;
        None: the kind of their answer.
      data_dir: folder with the data sets' files; else the environment's TLM_JAX_DATA_DIR.
      modules: further Python modules that register tasks.
      demonstrations: of in-context tasks.
    """

    file: str | None = None
    mixture_or_task_name: str | None = None
    split: str = "train"
    num_examples: int | None = None
    question_field: str | None = None
    solution_field: str | None = None
    correct_field: str | None = None
    only_correct: bool = False
    grading_rule: str | None = None
    data_dir: str | None = None
    modules: Sequence[str] = ()
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)

    def __post_init__(self) -> None:
        if self.file is None and self.mixture_or_task_name is None:
            raise UserError(
                "nothing to score: set SOLUTIONS (a JSON Lines file), MIXTURE_OR_TASK_NAME, or both"
            )
        if self.num_examples is not None and self.num_examples < 1:
            raise UserError(f"NUM_EXAMPLES is {self.num_examples}, expected at least 1, or None")


@dataclass(frozen=True)
class TeacherPromptConfig:
    """What the teacher reads before a solution; it need not be what the student reads.

    Attributes:
      template: of a text such as 'Q: {question}\\nLet's think step by step\\n'; `{question}` has
        the options of a choice behind it, `{inputs}` is the task's or the file's prompt. None:
        that prompt as it stands.
      chat: whether the text is asked as a user's message, by the model's chat template.
      system: a system message before it.
      chat_template: name of one of several templates of the model; None: its default.
      add_bos: as PROMPT_BOS of `tlm_jax.infer`.
      add_eos: likewise PROMPT_EOS.
      max_tokens: longest prompt; None: as many as the window leaves beside the solution.
      too_long: what becomes of a longer one: an error, or the end of it is kept.
    """

    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_template: str | None = None
    add_bos: bool | None = None
    add_eos: bool | None = None
    max_tokens: int | None = None
    too_long: Literal["error", "keep_end"] = "error"

    def __post_init__(self) -> None:
        for name in ("system", "chat_template"):
            if getattr(self, name) is not None and not self.chat:
                raise UserError(
                    f"{name.upper()} is set, but prompts are plain text; set CHAT to True"
                )
        if isinstance(self.template, str) and "\\n" in self.template:
            raise UserError(
                f"PROMPT is {self.template!r}: that is a backslash and an n, no line break. Quote "
                "it as Python does, within the shell's quotes: \"PROMPT='Q: {question}\\n'\""
            )


@dataclass(frozen=True)
class EncodingConfig:
    """What is kept of a distribution.

    Attributes:
      name: "topk", "sampled" or "hidden".
      num_candidates: of "topk": the most that a step keeps.
      mass: of "topk": the fewest candidates that reach it are kept; None keeps all.
      num_draws: of "sampled".
      temperature: of the distribution, softmax(logits / temperature).
      compression: "none", or "zstd".
      rows_per_shard: rows of a file; those of an unfinished one are scored again after a kill.
    """

    name: str = "topk"
    num_candidates: int = 50
    mass: float | None = None
    num_draws: int = 12
    temperature: float = 1.0
    compression: str = "none"
    rows_per_shard: int = 1024

    def __post_init__(self) -> None:
        if isinstance(self.temperature, float | int) and not self.temperature > 0:
            raise UserError(f"TEMPERATURE is {self.temperature}, expected above 0")
        if self.name == "hidden" and self.temperature != 1:
            raise UserError(
                "TEMPERATURE is set, but ENCODING=hidden keeps no distribution; give the "
                "temperature to the loss"
            )

    def encoding(self, vocabulary_size: int) -> Encoding:
        """Returns the cache's encoding; a step has no more candidates than the vocabulary ids.

        Raises:
          UserError: there is no such one.
        """
        settings = {
            "topk": {
                "num_candidates": min(self.num_candidates, vocabulary_size),
                "mass": self.mass,
            },
            "sampled": {"num_draws": self.num_draws},
        }
        return encoding_by_name(self.name, **settings.get(self.name, {}))


@dataclass(frozen=True)
class ScoreConfig:
    """One scoring run.

    Attributes:
      model: the teacher, a model of any format.
      output_dir: the cache; the same command there goes on.
      solutions: what is scored.
      prompts: what the teacher reads before it.
      encoding: what is kept.
      teacher_name: for people; None: the model's path.
      vocabulary: of the teacher, where it has no tokenizer of its own beside it.
      dtype: of activations.
      batch_size: rows at a time; a row is a prompt with its solutions.
      chunk_tokens: how many tokens' logits exist at a time.
      mesh: a host's devices along data, fsdp and tensor; each host holds the whole model.
      num_hosts: among which the prompts are divided; None: JAX's processes.
      host_index: of this one, from 0.
    """

    model: str
    output_dir: str
    solutions: SolutionsConfig
    prompts: TeacherPromptConfig = field(default_factory=TeacherPromptConfig)
    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    teacher_name: str | None = None
    vocabulary: str | None = None
    dtype: str = "float32"
    batch_size: int = 16
    chunk_tokens: int = 1024
    mesh: MeshShape = field(default_factory=MeshShape)
    num_hosts: int | None = None
    host_index: int | None = None

    def __post_init__(self) -> None:
        check_hosts(self.host_index, self.num_hosts)
        for name in ("batch_size", "chunk_tokens"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"{name.upper()} is {value}, expected at least 1")
