"""Settings of the decoding engine, from a task's `generation_kwargs`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.decoding.requests import Sampling
from tlm_jax.decoding.stop_strings import StopStrings
from tlm_jax.errors import UserError, nearest
from tlm_jax.vocabularies import Vocabulary

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLED = {"top_p": float, "top_k": int, "min_p": float, "repetition_penalty": float}
KNOWN = ("until", "do_sample", "temperature", *_SAMPLED, *_LENGTHS, "num_beams")


@dataclasses.dataclass(frozen=True)
class Generation:
    """How one answer is written.

    Attributes:
      sampling: settings of the engine.
      until: texts that end it; they are no part of it.
    """

    sampling: Sampling
    until: tuple[str, ...]

    @property
    def sampled(self) -> bool:
        """Whether chance decides; else each token is the most probable one."""
        return self.sampling.temperature > 0


def read_generation(given: Mapping[str, Any], *, default_tokens: int) -> Generation:
    """Returns what `generation_kwargs` ask for.

    An answer is sampled where `do_sample` is true, or is not given and `temperature` is above 0;
    else it is greedy, whatever `temperature` says, as the harness has it. What is not given is off.

    Args:
      given: of a request.
      default_tokens: the most tokens where no limit is given.

    Raises:
      UserError: something unknown is asked for, or something that makes no sense.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in KNOWN:
            raise UserError(
                f"generation_kwargs: tlm_jax has no setting {name!r}.{nearest(name, KNOWN)} "
                f"Expected some of {', '.join(KNOWN)}"
            )
    if given.get("num_beams", 1) != 1:
        raise UserError(
            f"generation_kwargs: num_beams is {given['num_beams']!r}, but answers are greedy or "
            "sampled here; leave it out, or give num_beams=1"
        )
    if not isinstance(given.get("do_sample", False), bool):
        raise UserError(
            f"generation_kwargs: do_sample is {given['do_sample']!r}, expected True or False"
        )
    temperature = _number("temperature", given.get("temperature", 0.0), float)
    if given.get("do_sample") and temperature <= 0:
        raise UserError(
            "generation_kwargs: do_sample is true, but temperature is not above 0; add "
            "temperature=1.0, or leave do_sample out for greedy answers"
        )
    sampled = given.get("do_sample", temperature > 0)
    length = next((given[name] for name in _LENGTHS if name in given), default_tokens)
    chosen = {n: _number(n, given[n], kind) for n, kind in _SAMPLED.items() if n in given}
    try:
        sampling = Sampling(
            max_new_tokens=_number("max_gen_toks", length, int),
            temperature=temperature if sampled else 0.0,
            **chosen,
        )
    except UserError as error:
        raise UserError(f"generation_kwargs: {error}") from None
    return Generation(sampling, _texts(given.get("until", ())))


class Stops:
    """Finds where an answer reaches a text of `until`, special tokens among them."""

    def __init__(self, until: Sequence[str], vocabulary: Vocabulary):
        """Takes the texts; none of them stops nothing."""
        self._strings = StopStrings(until, vocabulary)
        # Special tokens are no part of decoded text.
        encoded = zip(until, vocabulary.encode_batch(until) if until else ())
        single = ((text, int(ids[0])) for text, ids in encoded if len(ids) == 1)
        self._ids = frozenset(i for text, i in single if vocabulary.piece(i) == text)
        self._vocabulary = vocabulary

    def kept_tokens(self, tokens: Sequence[int]) -> int | None:
        """Returns how many tokens it takes to reach the first of the texts; None if none does."""
        found = [self._strings.kept_tokens(tokens)] if self._strings else []
        found += [place + 1 for place, token in enumerate(tokens) if token in self._ids][:1]
        return min((number for number in found if number is not None), default=None)

    def text(self, tokens: Sequence[int]) -> str:
        """Returns the text of an answer up to the first of the texts."""
        end = next((i for i, token in enumerate(tokens) if token in self._ids), len(tokens))
        return self._strings.before(self._vocabulary.decode(tokens[:end]))


def _number(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    try:
        number = kind(value)
        whole = kind is float or float(value) == number
    except (TypeError, ValueError):
        whole, number = False, None
    if not whole or isinstance(value, bool):
        expected = "a number" if kind is float else "a whole number"
        raise UserError(f"generation_kwargs: {name} is {value!r}, expected {expected}")
    return number


def _texts(until: Any) -> tuple[str, ...]:
    texts = [until] if isinstance(until, str) else until
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"generation_kwargs: until is {until!r}, expected text or a list of texts")
    return tuple(text for text in texts if text)
