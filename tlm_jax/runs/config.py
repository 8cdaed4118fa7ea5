"""What a training run is: the dataclasses that gin files fill in (`run.RunConfig`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.vocabularies import Vocabulary
from tlm_jax.errors import UserError
from tlm_jax.models.config import DecoderOnlyConfig, EncoderDecoderConfig
from tlm_jax.models.lora import LoraConfig
from tlm_jax.optim.optimizers import OptimizerConfig
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.training.objectives import CrossEntropy


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how they become rows.

    Attributes:
      vocabulary: replaces the vocabulary that the task names; an object or a name such as
        "byte", "asset:word_problems", "path/to/spiece.model+100" or "path/to/tokenizer.json".
      data_dir: folder with the data sets' files; else the environment's TLM_JAX_DATA_DIR.
      modules: further Python modules that register tasks, imported before the task is looked up.
      split: of the training task.
      demonstrations: how many, drawn how and from where, in all in-context tasks.
      pack: whether several examples share a row.
      prefetch_batches: how many batches are made ahead of the loop.
    """

    vocabulary: Vocabulary | str | None = None
    data_dir: str | None = None
    modules: Sequence[str] = ()
    split: str = "train"
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)
    pack: bool = False
    prefetch_batches: int = 2


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation in the loop: greedy decoding and teacher-forced likelihood on held-out tasks.

    Attributes:
      tasks: names; empty means no evaluation.
      split: of those tasks.
      period_steps: evaluated at every multiple, and at the end.
      num_examples: the first so many of each task; None means all.
      batch_size: rows decoded at a time.
      max_decode_tokens: longest generation; None means the targets' feature length.
      show_examples: how many predictions are printed at the end of training.
    """

    tasks: Sequence[str] = ()
    split: str = "validation"
    period_steps: int = 1000
    num_examples: int | None = None
    batch_size: int = 32
    max_decode_tokens: int | None = None
    show_examples: int = 3


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
      loss: the objective's settings.
      initial_checkpoint_path: a model of any format to start from, where `model_dir` holds no
        checkpoint.
      resize_vocabulary: whether its rows for tokens are cut or extended to the model's; otherwise
        another number of them is an error.
      restore_optimizer: whether the optimizer's state and the step of a T5X checkpoint are taken
        over, too.
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
    loss: CrossEntropy = field(default_factory=CrossEntropy)
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
