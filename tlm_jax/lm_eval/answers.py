"""Writes answers to prompts of the harness with the decoding engine, repeated prompts read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tlm_jax.decoding.common_prefixes import common_prefixes
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sample
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.generation import Generation, Stops, read_generation
from tlm_jax.lm_eval.opened import HarnessModel
from tlm_jax.lm_eval.rows import Rows
from tlm_jax.lm_eval.texts import TextEncoder

GenerationArguments = tuple[str, Mapping[str, Any]]
"""A prompt and its `generation_kwargs`."""


class Answers:
    """Generates with one model."""

    def __init__(
        self,
        model: HarnessModel,
        encoder: TextEncoder,
        rows: Rows,
        *,
        default_tokens: int = 256,
        seed: int = 0,
    ):
        """Takes the model; nothing is compiled yet.

        Args:
          model: that answers.
          encoder: of its texts.
          rows: answers written at a time.
          default_tokens: the most tokens of an answer where a task does not say.
          seed: of sampled answers; an answer depends on it, on its prompt and settings, and on
            which of several equal requests it is.
        """
        self._model, self._encoder, self._rows = model, encoder, rows
        self._default_tokens, self._seed = default_tokens, seed
        self._engines: dict[int, Engine] = {}
        self.cut = 0
        """How many prompts lost their left end so far."""

    def write(
        self,
        requests: Sequence[GenerationArguments],
        on_answer: Callable[[int, str], None] = lambda index, text: None,
    ) -> list[str]:
        """Returns the answer to each request, in their order.

        Prompts keep their last tokens where prompt and answer do not fit the window together.

        Args:
          requests: prompts and settings.
          on_answer: is told a request's number and its answer as soon as it is known.

        Raises:
          UserError: settings that make no sense or leave no room for a prompt.
        """
        settings = [
            read_generation(given, default_tokens=self._default_tokens) for _, given in requests
        ]
        prompts = self._prompts(requests, settings)
        groups = _groups(requests, settings)
        groups.sort(key=lambda group: -len(prompts[group[0]]))
        untils = {chosen.until for chosen in settings}
        stops = {until: Stops(until, self._model.vocabulary) for until in untils}
        found: dict[int, str] = {}

        def waiting() -> Iterator[Request]:
            for number, group in enumerate(groups):
                chosen = settings[group[0]]
                if any(index not in found for index in group):
                    yield Request(
                        id=number,
                        prompt=prompts[group[0]],
                        seeds=self._seeds(requests[group[0]], len(group) if chosen.sampled else 1),
                        sampling=chosen.sampling,
                        stop=stops[chosen.until].kept_tokens,
                    )

        def work(number: int) -> None:
            prefixes = common_prefixes([prompts[group[0]] for group in groups], number)
            for sample in self._engine(number).run(waiting(), prefixes):
                group = groups[sample.request_id]
                chosen = settings[group[0]]
                text = stops[chosen.until].text(_written(sample))
                for index in (group[sample.index],) if chosen.sampled else group:
                    if index not in found:
                        found[index] = text
                        on_answer(index, text)

        self._rows.run(work)
        return [found[index] for index in range(len(requests))]

    def _prompts(
        self, requests: Sequence[GenerationArguments], settings: Sequence[Generation]
    ) -> list[list[int]]:
        distinct = list(dict.fromkeys(prompt for prompt, _ in requests))
        encoded = dict(zip(distinct, self._encoder.contexts(distinct)))
        found = []
        for (prompt, _), chosen in zip(requests, settings):
            tokens, room = encoded[prompt], self._room(chosen)
            self.cut += len(tokens) > room
            found.append(tokens[-room:])
        return found

    def _room(self, chosen: Generation) -> int:
        window, new = self._model.window_tokens, chosen.sampling.max_new_tokens
        if self._model.encoder_decoder:
            return window
        if new >= window:
            raise UserError(
                f"generation_kwargs: max_gen_toks is {new}, but the model's window has {window} "
                "tokens, prompt included; lower it with --gen_kwargs max_gen_toks=N"
            )
        return window - new

    def _engine(self, number: int) -> Engine:
        if number not in self._engines:
            model = self._model
            self._engines[number] = model.engine(number, max_prompt_tokens=model.window_tokens)
        return self._engines[number]

    def _seeds(self, request: GenerationArguments, count: int) -> list[int]:
        prompt, given = request
        text = json.dumps([self._seed, prompt, sorted(given.items())], default=str)
        hashes = (hashlib.sha256(f"{number} {text}".encode()) for number in range(count))
        return [int.from_bytes(found.digest()[:8]) >> 1 for found in hashes]


def _groups(
    requests: Sequence[GenerationArguments], settings: Sequence[Generation]
) -> list[list[int]]:
    """Returns the numbers of requests that are the same, which share the work on their prompt."""
    groups: dict[tuple[str, Generation], list[int]] = {}
    for index, ((prompt, _), chosen) in enumerate(zip(requests, settings)):
        groups.setdefault((prompt, chosen), []).append(index)
    return list(groups.values())


def _written(sample: Sample) -> Sequence[int]:
    return sample.tokens[:-1] if sample.finish_reason == "eos" else sample.tokens
