"""Tokens of prompts and solutions as a teacher reads them, solutions of one prompt together."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tlm_jax.data.chat import render_chat
from tlm_jax.data.reading import encode_continuations
from tlm_jax.errors import UserError
from tlm_jax.runs.cache_teacher.config import ScoreConfig
from tlm_jax.runs.cache_teacher.solutions import Scored
from tlm_jax.runs.inference.prompt import Prompt
from tlm_jax.runs.inference.tokens import PromptEncoder
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.scoring.rows import Request


@dataclasses.dataclass(frozen=True)
class Tokenized:
    """Solutions of one prompt, which are scored behind the same tokens of it.

    Attributes:
      request: prompt and solutions in tokens.
      solutions: in the order of its continuations.
    """

    request: Request
    solutions: tuple[Scored, ...]


class SolutionEncoder:
    """Makes prompts and solutions into tokens.

    An encoder-decoder reads the prompt and EOS and is scored on the solution and EOS. A
    decoder-only model reads both in a row. Where it reads EOS between the two they are encoded
    apart, as in training. Otherwise they are encoded together, as the model would meet the text,
    and parted at the border, where some token ends there; where none does, apart (counted in
    `apart`). A solution that was cut off has no EOS.
    """

    def __init__(self, model: OpenedModel, config: ScoreConfig):
        """Takes the teacher and a run's settings."""
        self._model, self._config = model, config
        self._vocabulary, self._reading, self._window = (
            model.vocabulary,
            model.reading,
            model.window,
        )
        self._prompts = self._encoder(config.prompts.max_tokens)
        self.encoded_separately = self.cut = self.left_out = 0

    def settings(self) -> Mapping[str, Any]:
        """Returns what decides the tokens, for the cache's header."""
        rules = self._prompts.rules()
        prompts = self._config.prompts
        chat = None
        if prompts.chat:
            template = self._model.template
            chat = hashlib.sha256(repr(template).encode()).hexdigest()[:16]
        return {
            **{f"prompt.{name}": value for name, value in rules.items()},
            "prompt.template": prompts.template,
            "prompt.system": prompts.system,
            "prompt.chat_template": chat,
            "prompt.too_long": prompts.too_long,
        }

    def encode(self, solutions: Sequence[Scored]) -> list[Tokenized]:
        """Returns the solutions with those of the same prompt together, in order of appearance.

        What of a prompt fits before a solution depends on that solution alone, and not on which
        others are still to be scored.

        Raises:
          UserError: a prompt or a solution is longer than the model reads.
        """
        groups: dict[str, list[Scored]] = {}
        for one in solutions:
            groups.setdefault(_identity(one.prompt), []).append(one)
        return [tokenized for group in groups.values() for tokenized in self._tokenized(group)]

    def _tokenized(self, group: Sequence[Scored]) -> Iterator[Tokenized]:
        prompt = group[0].prompt
        context = np.asarray(self._prompts.encode(prompt), np.int32)
        by_length: dict[int, list[tuple[Scored, np.ndarray]]] = {}
        for one in group:
            target = self._target(one)
            room = len(context)
            if self._window is not None:
                if not self._fits(one, target):
                    continue
                room = min(room, self._window + 1 - len(target))
            by_length.setdefault(room, []).append((one, target))
        for room, targets in by_length.items():
            kept = context
            if room < len(context):
                shorter = self._encoder(room)
                kept = np.asarray(shorter.encode(prompt), np.int32)
                self.cut += shorter.cut * len(targets)
            yield Tokenized(
                Request(kept, [target for _, target in targets]), tuple(one for one, _ in targets)
            )

    def _encoder(self, longest: int | None) -> PromptEncoder:
        return PromptEncoder(
            self._model,
            too_long=self._config.prompts.too_long,
            longest=longest,
            reserved_for="its solution"
            if longest != self._config.prompts.max_tokens
            else "MAX_TOKENS",
        )

    def _fits(self, one: Scored, target: np.ndarray) -> bool:
        """Whether one token of prompt and the solution fit the window."""
        assert self._window is not None
        if len(target) <= self._window:
            return True
        if self._config.prompts.too_long == "error":
            raise UserError(
                f"{one.solution.place}: the solution {one.solution.id!r} has {len(target):,} "
                f"tokens, but the model reads {self._window:,}; leave it out, or set "
                "TOO_LONG=keep_end, which leaves such solutions out and counts them"
            )
        self.left_out += 1
        return False

    def _target(self, one: Scored) -> np.ndarray:
        own = one.target_ids if one.prompt.token_ids is not None else None
        if own is not None:
            return np.asarray(own, np.int32)
        tokens = self._continuation(one)
        return np.append(tokens, np.int32(self._vocabulary.eos_id)) if one.finished else tokens

    def _continuation(self, one: Scored) -> np.ndarray:
        prompt, text = one.prompt, one.solution.text
        before = None
        if prompt.messages is not None:
            template = self._model.template
            before = render_chat(prompt.messages, template, add_generation_prompt=True)
        elif self._reading.plain:
            before = prompt.as_read or prompt.text or ""
        if before is None or not self._reading.one_sequence:
            return self._vocabulary.encode(text)
        _, (tokens,), separate = encode_continuations(self._vocabulary, [before], [text])
        self.encoded_separately += separate
        return tokens


def _identity(prompt: Prompt) -> str:
    """Returns what two prompts share only where they are the same tokens."""
    ids = None if prompt.token_ids is None else prompt.token_ids.tolist()
    return repr((prompt.text, prompt.messages, ids))
