"""The tokens of prompts, as a model reads them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Integer

from tlm_jax.data.chat import render_chat
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import TooLong
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.runs.opened.model import OpenedModel


class PromptEncoder:
    """Makes prompts into the tokens that a model reads.

    What stands around a prompt is the model's own way, whether the text is a task's or a file's
    (`runs.opened.reading`). A conversation is as its template writes it, special tokens included.
    """

    def __init__(
        self,
        model: OpenedModel,
        *,
        too_long: TooLong,
        longest: int | None,
        reserved_for: str = "MAX_TOKENS",
    ):
        """Takes what a run says about prompts.

        Args:
          model: that reads them.
          too_long: whether a longer prompt is an error, or its end is kept.
          longest: the most tokens; None for no limit.
          reserved_for: what else the window has to hold, for errors.
        """
        self._model, self._reserved_for = model, reserved_for
        self._keep_end = too_long == "keep_end"
        self._vocabulary, self._reading, self._longest = model.vocabulary, model.reading, longest
        self.cut = 0

    @property
    def longest(self) -> int:
        """The most tokens, where there is a limit."""
        return self._longest or 0

    def rules(self) -> dict[str, Any]:
        """Returns what decides a prompt's tokens beside its text."""
        return {**dataclasses.asdict(self._reading), "longest": self._longest}

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
                    f"tokens, but there is room for {limit:,} beside {self._reserved_for}: reduce "
                    "that, or set TOO_LONG=keep_end to keep the end of such prompts"
                )
            self.cut += 1
            tokens = tokens[-max(limit - len(bos), 1) :]
        return [*bos, *tokens.tolist()]

    def _tokens(self, prompt: Prompt) -> tuple[Integer[np.ndarray, "n"], list[int]]:
        """Returns the tokens, and what stands before them whatever is cut."""
        if prompt.messages is not None:
            template = self._model.template
            try:
                text = render_chat(prompt.messages, template, add_generation_prompt=True)
            except UserError as error:
                raise UserError(f"{prompt.place}: the prompt {prompt.id!r}: {error}") from None
            return self._vocabulary.encode(text), []
        reading = self._reading
        start: list[int] = []
        if reading.one_sequence and reading.start_id is not None:
            start = [reading.start_id]
        if prompt.token_ids is not None:
            return prompt.token_ids, start
        tokens = self._vocabulary.encode(prompt.text or "")
        if reading.prompt_eos:
            tokens = np.append(tokens, np.int32(self._vocabulary.eos_id))
        return tokens, start
