"""Configuration of LEMA, which gin_configs/recipes/lema.gin fills in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from tlm_jax.errors import UserError
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.recipes.lema.correctors import Corrector
from tlm_jax.recipes.lema.evolution import Evolution
from tlm_jax.recipes.lema.forms import Form
from tlm_jax.recipes.lema.sets import arm_of
from tlm_jax.recipes.lema.speaking import Speaking
from tlm_jax.recipes.question_sets import Questions
from tlm_jax.runs.training.config import RunConfig

START = "start"
"""In place of a model's path: the model from which the arms start."""


@dataclasses.dataclass(frozen=True)
class WrongPaths:
    """Where wrong paths come from.

    Attributes:
      models: who are asked all questions, by name: a model of any format, `openai:URL,NAME`, or
        "start" for the model from which the arms start.
      files: solutions that are there already, also in DATA_DIR: GSM8K's model solutions, samples of
        `infer`, STaR's `wrong.jsonl`, wrong paths of an earlier run; or directories, in which all
        files called `wrong.jsonl` count.
      speaking: how the models answer.
      before: a file whose text stands before each question, such as solved ones; None: none.
      most: so many wrong paths of a question and model; None: all.
      total: so many wrong paths in all, spread over all that there are; None: all.
      keep_right: whether right paths become chains of thought, too, as in the paper.
    """

    models: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Sequence[str] = ()
    speaking: Speaking = dataclasses.field(default_factory=Speaking)
    before: str | None = None
    most: int | None = None
    total: int | None = None
    keep_right: bool = False

    def __post_init__(self) -> None:
        if not self.models and not self.files:
            raise UserError(
                "LEMA needs wrong paths: set PATH_MODELS, such as {'student': 'start'}, or "
                "PATH_FILES"
            )
        for name, value in (("MOST_PATHS", self.most), ("NUM_WRONG", self.total)):
            if isinstance(value, int) and value < 1:
                raise UserError(f"{name} is {value}, expected at least 1, or None")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the chosen checkpoints are asked.

    Attributes:
      tasks: registered tasks, in the wording that is trained on.
      split: of all of them.
      splits: others for some tasks, such as {"commonsenseqa_lema": "validation"}.
      num_examples: so many of each; None: all.
      examples_seed: which ones.
      num_samples: of maj@k; 0: greedy decoding alone.
      temperature: of these samples.
      also_by: further rules by task, such as {"gsm8k_lema": "official_the_answer_is"}, for greedy
        answers.
      feature_lengths: most tokens of prompts and answers; None: those of training.
      batch_size: rows at a time.
      stop: texts at which an answer ends.
    """

    tasks: Sequence[str]
    split: str = "test"
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    num_examples: int | None = None
    examples_seed: int | None = 0
    num_samples: int = 0
    temperature: float = 0.7
    also_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    feature_lengths: Mapping[str, int] | None = None
    batch_size: int = 32
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UserError("TEST_TASKS is empty: name at least one")
        for task, rule in self.also_by.items():
            if task not in self.tasks:
                raise UserError(f"TEST_ALSO_BY names {task}, which is none of TEST_TASKS")
            rule_by_name(rule)

    def split_of(self, task: str) -> str:
        """Returns the split of a task that is asked."""
        return self.splits.get(task, self.split)


@dataclasses.dataclass(frozen=True)
class LemaConfig:
    """The method as a whole, and the arms that are compared.

    Attributes:
      questions: of which data set.
      form: how chains of thought and corrections are written.
      paths: where wrong ones come from.
      corrector: who corrects them.
      training: of each arm; MODEL_DIR, task, file and seed are set here. Its
        `initial_checkpoint_path` is where all arms start; adapters (`lora`) are LoRA or QLoRA.
      evaluation: on what.
      dev_task: a task of the development split, in the wording that is trained on.
      arms: what is compared (`sets.Arm`).
      seeds: of each arm: of training, and of what controls leave out.
      rule: by which paths and corrections are graded; None: by the kind of answer.
      choose_on: by what a checkpoint is chosen: "development"; "test", the first test task, as
        published, and marked; "last".
      too_long: whether a row longer than TASK_FEATURE_LENGTHS is left out and counted, or an error.
        Cut, a prompt would lose its question's end.
      num_compared: so many corrections are kept from training, to compare how probable wrong and
        corrected paths are, before and after.
      num_rated: so many corrections are on the sheet to be rated.
      evolution: makes further questions from those that have a correction; None: none.
    """

    questions: Questions
    form: Form
    paths: WrongPaths
    corrector: Corrector
    training: RunConfig
    evaluation: Evaluation
    dev_task: str
    arms: Sequence[str] = ("cot", "lema", "lema_rows", "cot_rows")
    seeds: Sequence[int] = (0,)
    rule: str | None = None
    choose_on: Literal["development", "test", "last"] = "development"
    too_long: Literal["drop", "error"] = "drop"
    num_compared: int = 0
    num_rated: int = 50
    evolution: Evolution | None = None

    def __post_init__(self) -> None:
        for name, given in (("ARMS", self.arms), ("SEEDS", self.seeds)):
            if not given or len(set(given)) < len(given):
                raise UserError(f"{name} is {given!r}, expected one or more different ones")
        for arm in self.arms:
            arm_of(arm)
        if self.rule is not None:
            rule_by_name(self.rule)
        if self.training.initial_checkpoint_path is None:
            raise UserError("LEMA fine-tunes a model: set INITIAL_CHECKPOINT_PATH")
        if self.training.teacher is not None:
            raise UserError("LEMA learns from texts alone: leave TEACHER out")
        for name, value in (("NUM_COMPARED", self.num_compared), ("NUM_RATED", self.num_rated)):
            if value < 0:
                raise UserError(f"{name} is {value}, expected 0 or more")
