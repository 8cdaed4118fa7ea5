"""Who corrects wrong paths: an oracle of embedded problems, a model, or a file of answers."""

from __future__ import annotations

import abc
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.generators.word_problem_errors import first_error
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import SAMPLES, prompt_line
from tlm_jax.recipes.lema.corrections import Correction
from tlm_jax.recipes.lema.forms import Form
from tlm_jax.recipes.lema.quality import EMBEDDED
from tlm_jax.recipes.lema.speaking import Speaking, read_of
from tlm_jax.runs.training import files
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache


@dataclasses.dataclass(frozen=True)
class Work:
    """What a corrector is given.

    Attributes:
      paths: wrong ones, records with the field `path`.
      form: how they are asked and answered.
      data: where the form's prompts are.
      start: the model from which the arms start.
      mesh: of local models.
      compiled: programs that all stages share.
    """

    paths: Sequence[Record]
    form: Form
    data: RunData
    start: str
    mesh: MeshShape
    compiled: ProgramCache


class Corrector(abc.ABC):
    """Corrects wrong paths; its answers are texts, which are read afterwards."""

    @abc.abstractmethod
    def write(self, folder: Path, work: Work) -> None:
        """Writes the answers at `SAMPLES` in a folder: `id` of the path, `sample`, `text`.

        Raises:
          UserError: it cannot answer.
        """

    def decides(self, work: Work) -> dict[str, Any]:
        """Returns what decides its answers, beside the paths and what it reads."""
        return {}

    def reads(self, work: Work) -> Mapping[str, Path]:
        """Returns what it reads."""
        return {}

    def prompts(self, work: Work) -> Sequence[str]:
        """Returns what it is asked; nothing where nobody is asked."""
        return ()


@dataclasses.dataclass(frozen=True)
class Oracle(Corrector):
    """Corrects embedded word problems exactly: by their own solutions."""

    def write(self, folder: Path, work: Work) -> None:
        lines = []
        for record in work.paths:
            if record.dataset != EMBEDDED or not record.rationale:
                raise UserError(
                    f"the path {record.id!r} is of no embedded word problem with its solution, and "
                    "the oracle corrects no others: set CORRECTOR to @correctors.Model()"
                )
            path = record.get("path")
            error = first_error(record, path)
            if error is None:
                continue  # nothing is wrong; it is counted as without an answer
            found = Correction(error.step, error.explanation, error.corrected)
            text = work.form.correction(record, path, found).targets
            row = {"id": record.id, "sample": 0, "text": text, "num_tokens": 0}
            lines.append(json.dumps({**row, "finish_reason": "eos"}) + "\n")
        files.make_folder((folder / SAMPLES).parent)
        files.write_text(folder / SAMPLES, "".join(lines))


@dataclasses.dataclass(frozen=True)
class Model(Corrector):
    """Asks a model by the published prompts, several tries a path at a temperature.

    Attributes:
      model: of any format; `openai:URL,NAME`; "start" for the model from which the arms start.
      speaking: how it answers.
    """

    model: str
    speaking: Speaking

    def write(self, folder: Path, work: Work) -> None:
        # Answers are read as corrections: `infer` finds no answer to grade in them.
        self.speaking.draw(
            folder, self._named(work), list(self.prompts(work)), None, work.mesh, work.compiled
        )

    def decides(self, work: Work) -> dict[str, Any]:
        remote = {} if self.reads(work) else {"server": self.model}
        return {**self.speaking.decides(), **remote}

    def reads(self, work: Work) -> Mapping[str, Path]:
        return read_of(self._named(work))

    def prompts(self, work: Work) -> Sequence[str]:
        return [
            prompt_line(record, work.form.prompt(record, record.get("path"), work.data))
            for record in work.paths
        ]

    def _named(self, work: Work) -> str:
        return work.start if self.model == "start" else self.model


@dataclasses.dataclass(frozen=True)
class File(Corrector):
    """Answers that are there already: JSON Lines with `text` and `id` (of the path).

    Where a row has no `id`, `question` and `path`, the list of steps, say what it corrects.

    Attributes:
      file: where they are.
    """

    file: str

    def write(self, folder: Path, work: Work) -> None:
        by_text = {(record.question, tuple(record.get("path"))): record.id for record in work.paths}
        known = set(by_text.values())
        tries: dict[str, int] = {}
        lines = []
        for number, row in read_json_lines(expanded(self.file)):
            if not isinstance(row.get("text"), str):
                raise UserError(f"{self.file}:{number}: expected the corrector's answer as `text`")
            name = row.get("id") or by_text.get(
                (str(row.get("question")), tuple(row.get("path", ())))
            )
            if name not in known:
                continue  # of a path that this run does not have
            sample = tries[name] = tries.get(name, -1) + 1
            fields = {"num_tokens": 0, "finish_reason": "eos"} | row
            lines.append(json.dumps({**fields, "id": name, "sample": sample}) + "\n")
        if not lines:
            raise UserError(
                f"{self.file}: no row is about any of the {len(work.paths):,} wrong paths: rows "
                "need their `id`, or `question` and `path`, and `text`"
            )
        files.make_folder((folder / SAMPLES).parent)
        files.write_text(folder / SAMPLES, "".join(lines))

    def reads(self, work: Work) -> Mapping[str, Path]:
        return {"the file of corrections": expanded(self.file)}
