"""Between text and tokens in an inference run: prompts, stop strings, the tokenizer's files."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.data import tasks
from tlm_jax.data.chat import ChatTemplate, read_chat_template, render_chat
from tlm_jax.data.pipeline.store import task_vocabulary
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompts import Prompt
from tlm_jax.runs.opened.temporary_folder import TemporaryFolder
from tlm_jax.runs.opened.trained_vocabulary import check_trained_with
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name


class TokenizerFiles:
    """A model's tokenizer and chat template in one directory, wherever they come from.

    A context manager: what it had to write lies there until it is closed.
    """

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
        self._template: ChatTemplate | None = None

    def __enter__(self) -> TokenizerFiles:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

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
        self.check(vocabulary, "set VOCABULARY to the one of its training")
        return vocabulary

    def check(self, vocabulary: Vocabulary, remedy: str) -> None:
        """Refuses a vocabulary that the model is known not to be trained with.

        Raises:
          UserError: with `remedy`.
        """
        check_trained_with(self.directory, self.model, vocabulary, remedy)

    def template(self) -> ChatTemplate:
        """Returns the chat template.

        Raises:
          UserError: the model has none.
        """
        if self._template is None:
            with self._named_by_model():
                self._template = read_chat_template(self.directory)
        return self._template

    @contextlib.contextmanager
    def _named_by_model(self) -> Iterator[None]:
        """Names the model in errors instead of a temporary folder, which nobody knows."""
        try:
            yield
        except UserError as error:
            if self._temporary is None:
                raise
            raise UserError(str(error).replace(str(self.directory), str(self.model))) from error


def model_vocabulary(
    named: str | None, files: TokenizerFiles, task: str | None, modules: Sequence[str]
) -> Vocabulary:
    """Returns the vocabulary that is named, else the model's own, else the task's.

    Args:
      named: by `data.vocabularies.vocabulary_from_name`.
      files: of the model.
      task: a task or mixture.
      modules: further modules that register tasks.

    Raises:
      UserError: there is none, or the task's is not the one that the model was trained with.
    """
    if named is not None:
        return vocabulary_from_name(named)
    if files.hold_tokenizer:
        return files.vocabulary()
    if task is None:
        raise UserError(
            f"no tokenizer lies beside the model {files.model}: set VOCABULARY to the one that it "
            "was trained with: path/to/tokenizer.json or spiece.model+100, 'byte', or "
            "'asset:word_problems', with which the tasks that come with the library are read"
        )
    tasks.load_tasks(modules)
    vocabulary = task_vocabulary(task)
    files.check(vocabulary, "set VOCABULARY to the one of its training")
    return vocabulary


class PromptEncoder:
    """Makes prompts into the tokens that a model reads.

    What stands around a prompt is the model's own way, whether the text is a task's or a file's
    (`runs.reading`). A conversation is as its template writes it, special tokens included.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        files: TokenizerFiles,
        config: PromptsConfig,
        *,
        reading: Reading,
        longest: int | None,
        beside: str = "MAX_TOKENS",
    ):
        """Takes what a run says about prompts.

        Args:
          vocabulary: of the model.
          files: with its chat template.
          config: for `too_long`.
          reading: how the model reads prompts.
          longest: the most tokens; None for no limit.
          beside: what else the window has to hold, for errors.
        """
        self._vocabulary, self._files, self._beside = vocabulary, files, beside
        self._keep_end = config.too_long == "keep_end"
        self.reading, self._longest = reading, longest
        self.cut = 0

    @property
    def longest(self) -> int:
        """The most tokens, where there is a limit."""
        return self._longest or 0

    def rules(self) -> dict[str, Any]:
        """Returns what decides a prompt's tokens beside its text."""
        return {**dataclasses.asdict(self.reading), "longest": self._longest}

    def encode(self, prompt: Prompt) -> list[int]:
        """Returns a prompt's tokens; counts it in `cut` where only its end was kept.

        Raises:
          UserError: it is longer than allowed, or the model's template refuses it.
        """
        tokens, bos = self._tokens(prompt)
        limit = self._longest
        if limit is not None and len(bos) + len(tokens) > limit:
            if not self._keep_end:
                raise UserError(
                    f"{prompt.place}: the prompt {prompt.id!r} has {len(bos) + len(tokens):,} "
                    f"tokens, but there is room for {limit:,} beside {self._beside}: reduce "
                    "that, or set TOO_LONG=keep_end to keep the end of such prompts"
                )
            self.cut += 1
            tokens = tokens[-max(limit - len(bos), 1) :]
        return [*bos, *tokens.tolist()]

    def _tokens(self, prompt: Prompt) -> tuple[Integer[np.ndarray, "n"], list[int]]:
        """Returns the tokens, and what stands before them whatever is cut."""
        if prompt.messages is not None:
            template = self._files.template()
            text = render_chat(prompt.messages, template, add_generation_prompt=True)
            return self._vocabulary.encode(text), []
        reading = self.reading
        start: list[int] = []
        if reading.one_sequence and reading.start_id is not None:
            start = [reading.start_id]
        if prompt.token_ids is not None:
            return prompt.token_ids, start
        tokens = self._vocabulary.encode(prompt.text or "")
        if reading.prompt_eos:
            tokens = np.append(tokens, np.int32(self._vocabulary.eos_id))
        return tokens, start
