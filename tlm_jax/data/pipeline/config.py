"""The settings that decide the batches of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tlm_jax.data.reading import Reading
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.data.teachers.tokens import TeacherTokens
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """What decides the batches.

    Attributes:
      mixture_or_task_name: registered here or in SeqIO.
      feature_lengths: tokens kept of each feature, such as {"inputs": 512, "targets": 512}; a row
        of a decoder-only model has as many as they add up to.
      batch_size: rows of the global batch, over all hosts.
      split: of the task.
      architecture: "encoder_decoder" or "decoder_only".
      vocabulary: None for the task's own.
      seed: chooses the order of tasks, examples and rows.
      shuffle: whether to shuffle examples.
      pack: whether to put several examples in a row.
      num_epochs: how often to go through the examples; None for ever. The last batch is filled
        with rows of weight zero.
      max_examples: stop after this many; None for no limit.
      packing_shards: into how many independent streams packing divides the examples, at most; the
        largest power of two up to this that divides the batch is taken. The number of hosts must
        divide it.
      packing_window: examples packed together; more fill rows better and take longer to restore.
      loss_on_targets_only: decoder-only: whether inputs carry no loss.
      mark_padding: whether unpacked rows, too, carry segment ids and positions; those of
        vocabularies in which id 0 is a token always do.
      aligned_features: features aligned with the targets to carry, with what stands at padding.
      teacher: what `TASK_with_teacher` tasks are joined with; None where there are none.
      teacher_tokens: how a live teacher of another vocabulary reads the examples; not with packing.
      cache_dir: where tokens of SeqIO tasks from elsewhere are kept.
      data: where the run's data are; None for what a run has by default.
      reading: how the model reads prompts and answers; None: as the tasks say.
    """

    mixture_or_task_name: str
    feature_lengths: Mapping[str, int]
    batch_size: int
    split: str = "train"
    architecture: str = "encoder_decoder"
    vocabulary: Vocabulary | None = None
    seed: int = 0
    shuffle: bool = True
    pack: bool = True
    num_epochs: int | None = None
    max_examples: int | None = None
    packing_shards: int = 8
    packing_window: int = 512
    loss_on_targets_only: bool = True
    mark_padding: bool = False
    aligned_features: Mapping[str, float] = dataclasses.field(default_factory=dict)
    teacher: TeacherJoin | None = None
    teacher_tokens: TeacherTokens | None = None
    cache_dir: str | None = None
    data: RunData | None = None
    reading: Reading | None = None

    @property
    def num_shards(self) -> int:
        """Into how many streams packing divides the examples."""
        shards = 1
        while 2 * shards <= self.packing_shards and self.batch_size % (2 * shards) == 0:
            shards *= 2
        return shards


def check_division(config: PipelineConfig, num_hosts: int) -> None:
    """Raises UserError where a batch cannot be divided among the hosts."""
    if config.batch_size < 1 or config.batch_size % num_hosts:
        raise UserError(
            f"batch size {config.batch_size} cannot be divided among {num_hosts} hosts; choose a "
            f"positive multiple of {num_hosts}."
        )
    if config.pack and config.num_shards % num_hosts:
        raise UserError(
            f"{num_hosts} hosts cannot share the {config.num_shards} packing shards of batch size "
            f"{config.batch_size}: the number of hosts must divide the shards, which are the "
            f"largest power of two up to packing_shards={config.packing_shards} that divides the "
            "batch; raise packing_shards, change the batch size, or set pack=False."
        )
