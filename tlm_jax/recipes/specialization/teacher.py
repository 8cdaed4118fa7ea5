"""The teacher: a model that is asked, or files of what others captured of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.formats import get_format
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import is_remote
from tlm_jax.runs.inference.config import SamplingConfig, ServerConfig
from tlm_jax.system.home import expanded
from tlm_jax.system.text_files import read_text
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Who solves the questions. Either `model` or `files` is given.

    Attributes:
      model: any model, `openai:URL,NAME` behind a server, or `trained:NAME`.
      files: captured solutions; of "codex_pickles" the directories that hold them.
      source: of the files: "codex", "codex_pickles", "openai", "samples" (`tlm cache_teacher
        import` has them).
      name: what it is called in the cache.
      vocabulary: of the model, or of the model that drew "samples", where it has none beside it.
      form: the format in which it is asked; in context the demonstrations are drawn by question.
      template: another text to ask with, in which `{question}` is the question; None: the format's.
      before: a file whose text stands before the template, such as the published
        prompt_complex.txt.
      sampling: how solutions are drawn; `num_candidates` is what can be learned of a distribution.
      server: for models behind one.
      dtype: of a local model's activations.
      batch_size: rows that are decoded at a time.
      add_bos, add_eos: around prompts; None: as the model was made.
    """

    model: str | None = None
    files: Sequence[str] = ()
    source: Literal["codex", "codex_pickles", "openai", "samples"] | None = None
    name: str = "teacher"
    vocabulary: Vocabulary | str | None = None
    form: str = "cot_zero_shot"
    template: str | None = None
    before: str | None = None
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    server: ServerConfig = dataclasses.field(default_factory=ServerConfig)
    dtype: str = "float32"
    batch_size: int = 32
    add_bos: bool | None = None
    add_eos: bool | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.files):
            what = "neither" if self.model is None else "both"
            raise UserError(
                "expected either TEACHER_MODEL, which is asked, or TEACHER_FILES, what others "
                f"captured, not {what}"
            )
        if (self.source is None) != (self.model is not None):
            raise UserError(
                "TEACHER_SOURCE says what TEACHER_FILES are ('codex', 'codex_pickles', 'openai', "
                "'samples'): set both or neither"
            )
        if isinstance(self.form, str) and not get_format(self.form).cot:
            raise UserError(f"TEACHER_FORM is {self.form!r}, which asks for no solution")
        if self.template is not None and "{question}" not in self.template:
            raise UserError(f"TEACHER_TEMPLATE is {self.template!r}, without '{{question}}' in it")
        if isinstance(self.batch_size, int) and self.batch_size < 1:
            raise UserError(f"TEACHER_BATCH_SIZE is {self.batch_size}, expected at least 1")
        if self.model is not None and self.sampling.num_candidates < 1:
            raise UserError(
                "NUM_CANDIDATES is 0: ask for the teacher's most probable tokens, which are "
                "aligned and counted even where match_sample alone is trained"
            )

    @property
    def is_remote(self) -> bool:
        """Whether it is behind a server."""
        return self.model is not None and is_remote(self.model)

    def prompts(
        self, records: Sequence[Record], pool: DemonstrationPool, data: RunData
    ) -> list[str]:
        """Returns what it is asked about each question.

        Raises:
          UserError: a file cannot be read, or there are too few demonstrations.
        """
        before = "" if self.before is None else read_text(expanded(self.before))
        form = get_format(self.form)
        found = []
        for record in records:
            if self.template is not None:
                # Questions may hold braces.
                asked = self.template.replace("{question}", record.question)
            else:
                drawn = pool.draw(record, data, with_rationale=True) if form.in_context else ()
                asked = form.inputs(record, drawn)
            found.append(before + asked)
        return found
