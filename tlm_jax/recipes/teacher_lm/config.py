"""Configuration of TeacherLM, which gin_configs/recipes/teacher_lm.gin fills in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tlm_jax.data.teacher_lm.language import FIELDS
from tlm_jax.data.teacher_lm.lines import Layout
from tlm_jax.data.teacher_lm.students import STUDENT_FORMATS, student_format
from tlm_jax.errors import UserError
from tlm_jax.evaluation.rank_formats import rank_format
from tlm_jax.recipes.teacher_lm.enhancing import Enhancement
from tlm_jax.recipes.teacher_lm.questions import Questions
from tlm_jax.runs.inference.config import SamplingConfig, ServerConfig
from tlm_jax.runs.training.config import DataConfig, RunConfig
from tlm_jax.vocabularies import Vocabulary

MULTI_TASK, ALL_FIELDS = "multi_task", "fields"
LEARNED = ("whole", "answers", "pairs")


@dataclasses.dataclass(frozen=True)
class TeacherTraining:
    """A teacher that is trained in three stages, each from what the one before has chosen.

    Attributes:
      training: of each; MODEL_DIR, task, steps and start are set here, that of the first excepted.
      multi_task: the task or mixture of the first stage.
      data: five-element data sets of the others, "NAME" or "NAME:SPLIT".
      num_records: so many of each set; None: all.
      layout: of their texts; with `subject` each begins with the record's subject.
      steps: of "multi_task", of "fields" and of each specialist, in this order.
      rank_tasks: tasks on which every checkpoint is ranked; the mean accuracy chooses one.
      rank_split, rank_examples, rank_format: how.
    """

    training: RunConfig
    multi_task: str
    data: Sequence[str]
    num_records: int | None
    layout: Layout
    steps: Sequence[int]
    rank_tasks: Sequence[str]
    rank_split: str = "validation"
    rank_examples: int | None = None
    rank_format: str = "teacherlm_mmlu"

    def __post_init__(self) -> None:
        if len(self.steps) != 3 or min(self.steps) < 1:
            raise UserError(
                f"TEACHER_STEPS is {list(self.steps)}, expected three numbers of at least 1: of "
                "the multi-task stage, of all fields, and of each specialist"
            )
        if not self.data or not self.rank_tasks:
            raise UserError("TEACHER_DATA and TEACHER_RANK_TASKS must each name at least one")
        rank_format(self.rank_format, None, None)


@dataclasses.dataclass(frozen=True)
class Voting:
    """Self-consistency of formats whose explanation stands before the answer.

    Attributes:
      num_samples: of each test question; 0 for none.
      temperature: of them.
      max_tokens: of each.
    """

    num_samples: int = 0
    temperature: float = 0.7
    max_tokens: int = 256


@dataclasses.dataclass(frozen=True)
class TeacherLMConfig:
    """The method as a whole, and the students that are compared.

    Attributes:
      questions: of which data sets.
      layout: of all texts but the teacher's own data.
      teacher: how it is trained; or a model of any format, or "openai:URL,NAME"; or one for each
        field.
      sampling: of its generations, one a record and field.
      server: for a teacher behind one.
      vocabulary: of a local teacher that has none beside it.
      teacher_dtype, teacher_batch_size: of a local teacher.
      enhancement: what becomes of empty and run-on generations.
      students: training runs by size; MODEL_DIR, task and seed are set here.
      formats: names of `STUDENT_FORMATS`; the first is what the others are compared with. None at
        all: the data sets are enriched with every field, and that is all.
      learned: "whole" sequences, "answers" alone, or "pairs" for encoder-decoders.
      seeds: of students.
      epochs: so often each sequence is seen, with a checkpoint each; None: the steps and the
        checkpoints of the training run.
      rank_format: "letter"; "teacherlm_doubled" writes `Q: ` twice, as the official code does for
        ECQA.
      asked_lengths: most tokens of prompts and answers in evaluation.
      data: where the data sets are.
      eval_batch_size: rows at a time.
      voting: self-consistency.
    """

    questions: Questions
    layout: Layout
    teacher: TeacherTraining | str | Mapping[str, str]
    sampling: SamplingConfig
    server: ServerConfig
    enhancement: Enhancement
    students: Mapping[str, RunConfig]
    asked_lengths: Mapping[str, int]
    data: DataConfig
    vocabulary: Vocabulary | str | None = None
    teacher_dtype: str = "float32"
    teacher_batch_size: int = 32
    formats: Sequence[str] = ("text", "cot_tail", "cmf")
    learned: str = "whole"
    seeds: Sequence[int] = (0,)
    epochs: int | None = 10
    rank_format: str = "letter"
    eval_batch_size: int = 32
    voting: Voting = dataclasses.field(default_factory=Voting)

    def __post_init__(self) -> None:
        for name in ("formats", "seeds"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise UserError(f"{name.upper()} is {given!r}, expected different ones")
        for name in self.formats:
            student_format(name)
        for name in self.students:
            if not name or not all(c.isalnum() or c in "_-." for c in name):
                raise UserError(
                    f"STUDENTS has the name {name!r}, which is to be a folder's: use letters, "
                    "digits, - . _"
                )
        if self.learned not in LEARNED:
            raise UserError(f"LEARNED is {self.learned!r}, expected one of {', '.join(LEARNED)}")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"EPOCHS is {self.epochs}, expected at least 1, or None")
        if self.sampling.num_samples != 1:
            raise UserError("the teacher writes each field once: NUM_SAMPLES must be 1")
        if isinstance(self.teacher, Mapping):
            missing = [field for field in self.asked if field not in self.teacher]
            if missing:
                raise UserError(f"TEACHER names no model for {', '.join(missing)}")
        self._check_students()

    def _check_students(self) -> None:
        for name, run in self.students.items():
            if run.model.is_encoder_decoder != (self.learned == "pairs"):
                wanted = "'pairs'" if run.model.is_encoder_decoder else "'whole' or 'answers'"
                kind = "an encoder-decoder" if run.model.is_encoder_decoder else "decoder-only"
                raise UserError(
                    f"the student {name!r} is {kind}, and LEARNED is {self.learned!r}: set it to "
                    f"{wanted}"
                )
            if run.data.pack and self.epochs is not None:
                raise UserError(
                    f"the student {name!r} packs its rows (PACK=True), so that an epoch is no "
                    "number of batches: set EPOCHS=None and TRAIN_STEPS, or PACK=False"
                )
            if run.teacher is not None or run.on_policy is not None:
                raise UserError("students learn the texts themselves: leave TEACHER out")
        if self.learned == "pairs":
            if self.layout.language is None:
                raise UserError("an encoder-decoder is ranked by one sentence: set LANGUAGE")
            if self.rank_format != "letter":
                raise UserError(
                    "LEARNED='pairs' is ranked by the task's prompts: leave RANK_FORMAT"
                )
        rank_format(self.rank_format, None, None)

    @property
    def asked(self) -> tuple[str, ...]:
        """The fields that the formats need, all of them where there are no formats."""
        needed = {f for name in self.formats for form in STUDENT_FORMATS[name] for f in form.fields}
        return tuple(field for field in FIELDS if field in needed or not self.formats)
