"""Configuration of STaR, which gin_configs/recipes/star.gin fills in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from tlm_jax.errors import UserError
from tlm_jax.evaluation.curation import Curation
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.recipes.star.forms import Form
from tlm_jax.recipes.star.pretraining import Pretraining
from tlm_jax.recipes.star.schedules import StepSchedule
from tlm_jax.runs.inference.config import SamplingConfig
from tlm_jax.runs.training.config import RunConfig

Arm = Literal["rationalization", "plain"]


@dataclasses.dataclass(frozen=True)
class QuestionsConfig:
    """Which questions are asked.

    Attributes:
      task: a registered task, whose questions and answers count and not its wording.
      train_split: its questions are learned from.
      dev_split: its questions say how good a model is; of those of `train_split` the ones that are
        in it are left out.
      num_train: so many a loop; None: all.
      num_dev: so many in all; None: all.
      fresh: whether each loop has a sample of its own, as the official code has it; else all have
        the same.
      test_sets: "TASK", "TASK:SPLIT" or files of records, whose questions are never learned from.
        A task alone means its split `test`.
      sample_seed: of the samples.
      by: a trait of the questions by which accuracy is told, such as "num_digits"; None: none.
    """

    task: str
    train_split: str = "train"
    dev_split: str = "validation"
    num_train: int | None = None
    num_dev: int | None = None
    fresh: bool = False
    test_sets: Sequence[str] = ()
    sample_seed: int = 0
    by: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_train", "num_dev"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"QuestionsConfig.{name} is {value}, expected at least 1, or None")


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Ends the loop where accuracy no longer rises.

    Attributes:
      loops: after so many loops in a row without a gain; None: never.
      gain: how much more than the best so far is a gain.
    """

    loops: int | None = None
    gain: float = 0.0


@dataclasses.dataclass(frozen=True)
class StarConfig:
    """The method as a whole.

    Attributes:
      questions: of which task.
      form: how they are asked.
      training: of each loop; MODEL_DIR, task, steps and start are set here. Its
        `initial_checkpoint_path` is M0, unless there is a pre-training.
      schedule: steps of a loop.
      sampling: of rationales; greedy in the paper. Its `stop` is the form's where it is empty.
      dev_samples: how development questions are answered; greedy.
      rule: a rule of `tlm_jax.grade`; None: by the kind of answer.
      curation: what of the right rationales is kept.
      arms: "rationalization" asks failed questions again with the answer as a hint; "plain" does
        not. Each has its own models.
      rationalized_share: of the failed questions that are asked again.
      hinted_samples: of each question that is asked again; None: as many as without a hint.
      hinted_temperature: of these; None: as without a hint. Behind a hint the answer is right even
        where the steps to it are not, so that what is drawn at a temperature is less often sound.
      seeds: of pre-training, training and sampling; each makes its own models.
      loops: the most.
      plateau: when to end before.
      restart: whether each loop trains from M0; else from the last loop's model.
      few_shot_in_training: whether the demonstrations stand before the texts that are trained on.
      pretraining: makes M0, where it is not an existing model.
      batch_size: rows that are decoded at a time.
    """

    questions: QuestionsConfig
    form: Form
    training: RunConfig
    schedule: StepSchedule
    sampling: SamplingConfig
    rule: str | None = None
    curation: Curation = dataclasses.field(default_factory=Curation)
    arms: Sequence[Arm] = ("rationalization",)
    rationalized_share: float = 1.0
    hinted_samples: int | None = None
    hinted_temperature: float | None = None
    seeds: Sequence[int] = (0,)
    loops: int = 16
    plateau: Plateau = dataclasses.field(default_factory=Plateau)
    restart: bool = True
    few_shot_in_training: bool = False
    pretraining: Pretraining | None = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name, given in (("ARMS", self.arms), ("SEEDS", self.seeds)):
            if not given or len(set(given)) < len(given):
                raise UserError(f"{name} is {given!r}, expected one or more different ones")
        for arm in self.arms:
            if arm not in get_args(Arm):
                raise UserError(f"ARMS has {arm!r}, expected {' or '.join(get_args(Arm))}")
        for name in ("loops", "batch_size"):
            if isinstance(value := getattr(self, name), int) and value < 1:
                raise UserError(f"StarConfig.{name} is {value}, expected at least 1")
        if not 0 < self.rationalized_share <= 1:
            raise UserError(
                f"RATIONALIZED_SHARE is {self.rationalized_share}, expected above 0 and at most 1; "
                "for none set ARMS to ['plain']"
            )
        if self.rule is not None:
            rule_by_name(self.rule)
        if self.curation.grade != "right":
            raise UserError("STaR keeps right rationales: leave Curation.grade as it is")
        if (self.pretraining is None) == (self.training.initial_checkpoint_path is None):
            what = "neither" if self.pretraining is None else "both"
            raise UserError(
                "STaR starts from a model: expected either INITIAL_CHECKPOINT_PATH or PRETRAINING, "
                f"not {what}"
            )
        if self.training.teacher is not None:
            raise UserError("STaR learns from the model's own texts: leave TEACHER out")
        self.hinted_sampling(self.sampling)  # which checks its values

    def hinted_sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """Returns how questions are asked with a hint.

        Args:
          sampling: how they are asked without.
        """
        samples, temperature = self.hinted_samples, self.hinted_temperature
        return dataclasses.replace(
            sampling,
            num_samples=sampling.num_samples if samples is None else samples,
            temperature=sampling.temperature if temperature is None else temperature,
        )
