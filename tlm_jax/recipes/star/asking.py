"""Asks questions in the form of a run of STaR."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.recipes.asking import SAMPLES, counted, draw, lines_digest, prompt_line
from tlm_jax.recipes.star.config import StarConfig
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig, SamplingConfig
from tlm_jax.system.program_cache import ProgramCache


@dataclasses.dataclass(frozen=True)
class Asker:
    """Asks questions in the form of a run of the method.

    Attributes:
      config: of the method.
      data: where the form's files are.
      compiled: programs that all stages share.
    """

    config: StarConfig
    data: RunData
    compiled: ProgramCache

    def ask(
        self,
        folder: Path,
        model: Path,
        records: Sequence[Record],
        sampling: SamplingConfig,
        *,
        hint: bool = False,
    ) -> dict[str, Any]:
        """Draws and grades the samples of all questions; those that lie there are taken over.

        Returns:
          The counts, as `counted` has them.

        Raises:
          UserError: a prompt is longer than the model's window has room for; or as `draw`.
        """
        form, training = self.config.form, self.config.training
        config = InferenceConfig(
            str(model),
            "",
            PromptsConfig(file="", add_bos=training.data.add_bos, add_eos=training.data.add_eos),
            dataclasses.replace(sampling, stop=tuple(sampling.stop) or tuple(form.stop)),
            vocabulary=training.data.vocabulary,
            dtype=training.model.dtype,
            batch_size=self.config.batch_size,
            grading_rule=self.config.rule,
            mesh=training.mesh,
        )
        draw(folder, list(self._lines(records, hint)), config, self.compiled)
        return counted(folder / SAMPLES, records, self.config.questions.by)

    def prompts_digest(self, records: Iterable[Record], *, hint: bool) -> str:
        """Returns a hash of the prompts of questions, demonstrations included, and of answers."""
        return lines_digest(self._lines(records, hint))

    def _lines(self, records: Iterable[Record], hint: bool) -> Iterator[str]:
        for record in records:
            yield prompt_line(record, self.config.form.prompt(record, self.data, hint=hint))
