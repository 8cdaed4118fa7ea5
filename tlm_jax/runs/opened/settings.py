"""The settings of a model that a run opens, whatever the configuration calls them."""

from __future__ import annotations

import dataclasses

from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """What a configuration says of the model that it opens.

    Attributes:
      path: a model of any format that `tlm_jax.convert` reads.
      dtype: of activations; parameters are float32.
      mesh: devices along data, fsdp and tensor.
      vocabulary: an object or a name; None: the tokenizer beside the model.
      reading: what stands around its prompts.
      chat_template: name of one of the model's chat templates; None: its default.
      vocabulary_setting: what the configuration calls `vocabulary`, for errors.
    """

    path: str
    dtype: str = "float32"
    mesh: MeshShape = dataclasses.field(default_factory=MeshShape)
    vocabulary: Vocabulary | str | None = None
    reading: ReadingSettings = dataclasses.field(default_factory=ReadingSettings)
    chat_template: str | None = None
    vocabulary_setting: str = "VOCABULARY"
