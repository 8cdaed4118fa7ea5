"""Configuration of a training run: the dataclasses that gin files fill in (`run.RunConfig`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.decoding.stop_strings import check_stop
from tlm_jax.errors import UserError
from tlm_jax.models.config import DecoderOnlyConfig, EncoderDecoderConfig
from tlm_jax.models.lora import LoraConfig
from tlm_jax.optim.optimizers import OptimizerConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.training.objectives import CrossEntropy, LossConfig
from tlm_jax.training.on_policy import OnPolicy
from tlm_jax.vocabularies import Vocabulary


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how they become rows.

    Attributes:
      vocabulary: replaces the vocabulary that the task names; an object or a name such as
        "byte", "asset:word_problems", "path/to/spiece.model+100" or "path/to/tokenizer.json".
      data_dir: folder with the data sets' files; else the environment's TLM_JAX_DATA_DIR.
      examples_file: records that the `examples` tasks read.
      modules: further Python modules that register tasks, imported before the task is looked up.
      split: of the training task.
      demonstrations: how many, drawn how and from where, in all in-context tasks.
      pack: whether several examples share a row.
      prefetch_batches: how many batches are made ahead of the loop.
      add_bos: whether BOS comes before what a decoder-only model reads; None: as its tokenizer
        does it, or as it was trained here (`runs.opened.reading`).
      add_eos: whether EOS ends prompts; None: not before the answers of a decoder-only model that
        comes from elsewhere, which reads plain text.
    """

    vocabulary: Vocabulary | str | None = None
    data_dir: str | None = None
    examples_file: str | None = None
    modules: Sequence[str] = ()
    split: str = "train"
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)
    pack: bool = False
    prefetch_batches: int = 2
    add_bos: bool | None = None
    add_eos: bool | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation in the loop: greedy decoding and teacher-forced likelihood on held-out tasks.

    Attributes:
      tasks: names; empty means no evaluation.
      split: of those tasks.
      period_steps: evaluated at every multiple, and at the end.
      num_examples: so many of each task; None means all.
      examples_seed: which ones, a sample that this seed fixes; None: the first.
      batch_size: rows decoded at a time.
      max_decode_tokens: longest generation; None means the targets' feature length.
      stop: texts at which an answer ends.
      show_examples: how many predictions are printed at the end of training.
    """

    tasks: Sequence[str] = ()
    split: str = "validation"
    period_steps: int = 1000
    num_examples: int | None = None
    examples_seed: int | None = 0
    batch_size: int = 32
    max_decode_tokens: int | None = None
    stop: Sequence[str] = ()
    show_examples: int = 3

    def __post_init__(self) -> None:
        check_stop(self.stop, "EVAL_STOP")


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written and which are kept.

    Attributes:
      period_steps: saved at every multiple, and at the end.
      keep: the newest, every so many steps, the best by mean accuracy on the evaluation tasks.
    """

    period_steps: int = 1000
    keep: KeepPolicy = field(default_factory=KeepPolicy)


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
      model_dir: everything the run writes lies here; a second run there continues the first.
      model: architecture and compute dtype.
      mixture_or_task_name: what is trained on.
      feature_lengths: tokens a row, `inputs` and `targets`.
      batch_size: rows of the global batch.
      train_steps: steps in all, those of earlier runs in `model_dir` included.
      optimizer: with its learning-rate schedule.
      loss: the objective's settings; those of distillation need a teacher.
      teacher: caches that `TASK_with_teacher` tasks are joined with, or a model that runs in the
        step.
      on_policy: with what probability a step trains on the student's own samples; with a live
        teacher only.
      initial_checkpoint_path: a model of any format to start from, where `model_dir` holds no
        checkpoint.
      resize_vocabulary: whether its rows for tokens are cut or extended to the model's; otherwise
        another number of them is an error.
      restore_optimizer: whether Adafactor's state and the step of the initial checkpoint, one of
        T5X, are taken over, too.
      lora: low-rank adapters on the frozen initial checkpoint are trained; None trains all
        parameters.
      seed: of initial parameters, dropout and data order.
      micro_batches: the batch is cut into so many; memory for one at a time.
      mesh: devices along data, fsdp and tensor.
      on_non_finite: whether a step with a non-finite loss or gradient is skipped or ends the run
        (its update is never applied).
      log_period_steps: metrics are written as means over so many steps.
    """

    model_dir: str
    model: EncoderDecoderConfig | DecoderOnlyConfig
    mixture_or_task_name: str
    feature_lengths: Mapping[str, int]
    batch_size: int
    train_steps: int
    optimizer: OptimizerConfig
    loss: LossConfig = field(default_factory=CrossEntropy)
    teacher: TeacherJoin | LiveTeacher | None = None
    on_policy: OnPolicy | None = None
    initial_checkpoint_path: str | None = None
    resize_vocabulary: bool = False
    restore_optimizer: bool = False
    lora: LoraConfig | None = None
    seed: int = 0
    micro_batches: int = 1
    mesh: MeshShape = field(default_factory=MeshShape)
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    on_non_finite: Literal["skip", "stop"] = "stop"
    log_period_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("batch_size", "train_steps", "micro_batches", "log_period_steps"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"RunConfig.{name} is {value}, expected at least 1")
        if self.restore_optimizer:
            self._check_restore_optimizer()
        if self.on_policy is not None:
            self._check_on_policy()
        if isinstance(self.loss, DistillationObjective) and self.loss.matching:
            self._check_matching()

    def _check_restore_optimizer(self) -> None:
        if self.initial_checkpoint_path is None:
            raise UserError(
                "RESTORE_OPTIMIZER takes over the state of the initial checkpoint's optimizer, but "
                "there is none: set INITIAL_CHECKPOINT_PATH, or leave RESTORE_OPTIMIZER out"
            )
        if self.lora is not None:
            raise UserError(
                "RESTORE_OPTIMIZER takes over the state of an optimizer that trained the whole "
                "model, and adapters (LORA) have parameters of their own: leave out one of the two"
            )

    def _check_on_policy(self) -> None:
        if not isinstance(self.teacher, LiveTeacher):
            raise UserError(
                "on-policy distillation needs a teacher that scores what the student samples: set "
                "TEACHER_PATH to a model (gin_configs/methods/distill_on_policy.gin)"
            )
        if self.data.pack:
            raise UserError("on-policy distillation samples one example a row: set PACK=False")
        lengths = self.feature_lengths
        room = lengths["targets"] if self.model.is_encoder_decoder else sum(lengths.values())
        tokens = self.on_policy.max_new_tokens if self.on_policy is not None else None
        if tokens is not None and tokens > room:
            raise UserError(
                f"SAMPLE_TOKENS is {tokens}, but a row has room for {room} tokens of the "
                "student's: raise TASK_FEATURE_LENGTHS, or sample fewer"
            )
        if not isinstance(self.loss, DistillationObjective):
            return  # refused where the teacher is opened
        if self.loss.distillation.alpha != 1.0:
            raise UserError(
                f"on-policy distillation with ALPHA={self.loss.distillation.alpha}: cross-entropy "
                "on the student's own samples teaches it nothing but what it does; set ALPHA=1.0"
            )

    def _check_matching(self) -> None:
        if not isinstance(self.teacher, LiveTeacher):
            raise UserError(
                "MATCHING needs the inner states of a teacher, which no cache holds: set "
                "TEACHER_PATH to the model itself (gin_configs/methods/distill_live.gin)"
            )
        if self.restore_optimizer:
            raise UserError(
                "RESTORE_OPTIMIZER takes over the state of an optimizer that has none for the "
                "projections of MATCHING: leave out one of the two"
            )
