"""Texts at which a sample ends, wherever it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.errors import UserError
from tlm_jax.vocabularies import Vocabulary


def check_stop(texts: Sequence[str], name: str) -> None:
    """Refuses an empty stop text.

    Raises:
      UserError: with the setting's name.
    """
    if "" in texts:
        raise UserError(f"{name} holds an empty text, which every sample would stop at")


class StopStrings:
    """Finds where a sample reaches one of several texts."""

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary):
        """Takes the texts; none of them stops nothing."""
        self._texts, self._vocabulary = tuple(texts), vocabulary

    def __bool__(self) -> bool:
        return bool(self._texts)

    def before(self, text: str) -> str:
        """Returns the text up to the first stop string in it."""
        places = [place for stop in self._texts if (place := text.find(stop)) >= 0]
        return text[: min(places)] if places else text

    def read(self, tokens: Sequence[int]) -> tuple[str, int | None]:
        """Returns the text up to the first stop string, and `kept_tokens`."""
        kept = self.kept_tokens(tokens) if self else None
        return self.before(self._vocabulary.decode(tokens[:kept])), kept

    def kept_tokens(self, tokens: Sequence[int]) -> int | None:
        """Returns how many tokens it takes to reach the first stop string; None if none is there.

        The text of more tokens holds what that of fewer does, so the number is found by halving.
        """
        if not self._reached(tokens):
            return None
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._reached(tokens[:middle]) else (middle + 1, high)
        return low

    def _reached(self, tokens: Sequence[int]) -> bool:
        text = self._vocabulary.decode(tokens)
        return any(stop in text for stop in self._texts)
