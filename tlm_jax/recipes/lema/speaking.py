"""How a model is asked in this method: whoever it is, here or behind a server."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tlm_jax.recipes.asking import draw, is_remote, model_path
from tlm_jax.runs.inference.config import (
    InferenceConfig,
    PromptsConfig,
    SamplingConfig,
    ServerConfig,
)
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.system.program_cache import ProgramCache


@dataclasses.dataclass(frozen=True)
class Speaking:
    """How answers are drawn.

    Attributes:
      sampling: of each prompt.
      server: for models behind one.
      chat: whether a prompt is a user's message, by the model's chat template.
      vocabulary: of a model without one beside it; None: its own.
      dtype: of a local model's activations.
      batch_size: rows of a local model at a time.
      add_bos, add_eos: around prompts; None: as the model reads.
    """

    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    server: ServerConfig = dataclasses.field(default_factory=ServerConfig)
    chat: bool = False
    vocabulary: str | None = None
    dtype: str = "float32"
    batch_size: int = 32
    add_bos: bool | None = None
    add_eos: bool | None = None

    def draw(
        self,
        folder: Path,
        model: str,
        lines: list[str],
        rule: str | None,
        mesh: MeshShape,
        compiled: ProgramCache,
    ) -> None:
        """Draws the samples of all prompts, as `asking.draw`."""
        prompts = PromptsConfig(file="", chat=self.chat, add_bos=self.add_bos, add_eos=self.add_eos)
        config = InferenceConfig(
            model,
            "",
            prompts,
            self.sampling,
            self.server,
            self.vocabulary,
            self.dtype,
            self.batch_size,
            rule,
            mesh,
        )
        draw(folder, lines, config, compiled)

    def decides(self) -> dict[str, Any]:
        """Returns what of it decides answers."""
        return {
            "sampling": self.sampling,
            "chat": self.chat,
            "vocabulary": self.vocabulary,
            "dtype": self.dtype,
            "bos and eos": [self.add_bos, self.add_eos],
        }


def read_of(model: str) -> dict[str, Path]:
    """Returns what a stage that asks a model reads of it; nothing of one behind a server."""
    return {} if is_remote(model) else {"the model": model_path(model)}
