"""Keeps a server's API key out of everything that is printed, written or hashed."""

from __future__ import annotations

import os

from tlm_jax.errors import UserError


class ApiKey:
    """A key from the environment; its value appears in the Authorization header alone."""

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

    @classmethod
    def from_environment(cls, variable: str) -> ApiKey:
        """Returns the key that an environment variable holds, or no key where it is unset."""
        return cls(os.environ.get(variable), source=f"${variable}")

    def headers(self) -> dict[str, str]:
        """Returns the headers that authorize a request."""
        return {"Authorization": f"Bearer {self.__value}"} if self.__value else {}

    def redact(self, text: str) -> str:
        """Returns `text`, a server's answer say, with the key taken out."""
        return text.replace(self.__value, "[API key]") if self.__value else text

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return "ApiKey(set)" if self.__value else "ApiKey(none)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an API key is not to be pickled")
