"""Keeps a server's API key out of everything that is printed or written."""

from __future__ import annotations

import os
import re
from typing import Any

from tlm_jax.errors import UserError

_LEAST_SECRET, _LEAST_SECRET_WORD = 8, 20


class ApiKey:
    """A key from the environment; its value is sent in the Authorization header alone.

    What is sent to a server is never changed: prompts are the user's. What comes back from it, and
    what is written down, is searched for the key. Servers of one's own are often given a word in
    place of a key (`test`, `EMPTY`, `x`); such a word hides nothing, and to take it out of answers
    would change them, so keys of fewer than 8 characters, and of fewer than 20 letters and nothing
    else, are not searched for.
    """

    def __init__(self, value: str | None = None, *, source: str = "the environment"):
        """Takes a key; None or an empty one sends no Authorization header.

        Raises:
          UserError: it cannot stand in a header.
        """
        value = (value or "").strip()
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise UserError(
                f"the API key in {source} has characters that cannot be sent: expected one "
                "line of printable ASCII without spaces"
            )
        self.__value = value
        least = _LEAST_SECRET_WORD if value.isalpha() else _LEAST_SECRET
        self.__pattern = _pattern(value) if len(value) >= least else None

    @classmethod
    def from_environment(cls, variable: str) -> ApiKey:
        """Returns the key that an environment variable holds, or no key where it is unset."""
        return cls(os.environ.get(variable), source=f"${variable}")

    def headers(self) -> dict[str, str]:
        """Returns the headers that authorize a request."""
        return {"Authorization": f"Bearer {self.__value}"} if self.__value else {}

    def redact(self, text: str) -> str:
        """Returns `text`, a server's words say, with the key taken out, JSON's escapes included."""
        return self.__pattern.sub("[API key]", text) if self.__pattern else text

    def redact_json(self, value: Any) -> Any:
        """Returns parsed JSON with the key taken out of its texts and names."""
        if self.__pattern is None:
            return value
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {self.redact(name): self.redact_json(held) for name, held in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_json(held) for held in value]
        return value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return "ApiKey(set)" if self.__value else "ApiKey(none)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an API key is not to be pickled")


def _pattern(value: str) -> re.Pattern[str]:
    r"""Matches the key, each character as it is or as JSON may write it: `\u0073`, `\/`."""
    return re.compile("".join(rf"(?:\\?{re.escape(c)}|\\u00(?i:{ord(c):02x}))" for c in value))
