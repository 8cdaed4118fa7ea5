"""The files of a model's tokenizer and chat template in one directory, wherever they come from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.data.chat import ChatTemplate, read_chat_template
from tlm_jax.errors import UserError
from tlm_jax.runs.opened.temporary_folder import TemporaryFolder
from tlm_jax.runs.opened.trained_vocabulary import check_trained_with
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name


class TokenizerFiles:
    """A model's tokenizer and chat template in one directory, until it is closed."""

    def __init__(self, source: Pretrained):
        """Finds them beside the model; those within a GGUF file go into a temporary folder."""
        self._temporary: TemporaryFolder | None = None
        places = {file.parent for file in source.companions.values() if isinstance(file, Path)}
        if source.companions and not places:
            self._temporary = TemporaryFolder("tlm_jax_tokenizer_")
            places = {self._temporary.path}
            for name, content in source.companions.items():
                assert isinstance(content, bytes)
                (self._temporary.path / name).write_bytes(content)
        self.directory = places.pop() if places else source.path
        names = ("tokenizer.json", "tokenizer.model", "spiece.model")
        self.hold_tokenizer = any(name in source.companions for name in names)
        self.model = source.path

    def close(self) -> None:
        """Deletes the temporary folder, if there is one."""
        if self._temporary is not None:
            self._temporary.close()

    def vocabulary(self, setting: str = "VOCABULARY") -> Vocabulary:
        """Returns the tokenizer, which has to be there (`hold_tokenizer`).

        Args:
          setting: that names another, for errors.

        Raises:
          UserError: it is damaged, or not the one that the model was trained with here.
        """
        with self._named_by_model():
            vocabulary = vocabulary_from_name(str(self.directory))
            # Reads it now, and not where its place tells nobody anything.
            _ = vocabulary.fingerprint
        # A student may have been trained with another than that of the model it began as.
        self.check(vocabulary, setting)
        return vocabulary

    def check(self, vocabulary: Vocabulary, setting: str) -> None:
        """Refuses a vocabulary that the model is known not to be trained with.

        Args:
          vocabulary: that nobody has named.
          setting: that names another, for errors.

        Raises:
          UserError: the model was trained with another.
        """
        remedy = f"set {setting} to the one of its training"
        check_trained_with(self.directory, self.model, vocabulary, remedy)

    def template(self, name: str | None = None) -> ChatTemplate:
        """Returns the chat template.

        Args:
          name: of one of several; None: the model's default.

        Raises:
          UserError: the model has none, or none of that name.
        """
        with self._named_by_model():
            return read_chat_template(self.directory, name)

    @contextlib.contextmanager
    def _named_by_model(self) -> Iterator[None]:
        """Names the model in errors instead of a temporary folder, which nobody knows."""
        try:
            yield
        except UserError as error:
            if self._temporary is None:
                raise
            raise UserError(str(error).replace(str(self.directory), str(self.model))) from error
