"""A model server, and how to treat it."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

import httpx2

from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Server:
    """A server, a model of it, and how to treat it.

    Attributes:
      url: base of its paths, such as "http://localhost:8000/v1".
      model: the name that it knows the model by.
      concurrency: most requests under way at a time.
      requests_per_minute: None for no limit.
      tokens_per_minute: of prompts and answers; None for no limit.
      retries: how often a failed request is sent again.
      first_wait_s: before the first retry; each further one waits twice as long, with jitter.
      longest_wait_s: most seconds between two tries; a server that asks for more is not waited for.
      timeout_s: for an answer, from connecting to its last byte.
    """

    url: str
    model: str
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            right = parts.scheme in ("http", "https") and bool(httpx2.URL(self.url).host)
            right = right and parts.port != 0 and not any(c.isspace() for c in self.url)
            clean = not (parts.username or parts.password or parts.query or parts.fragment)
            # Without a scheme, what stands before the host is not told apart.
            clean = clean and (right or "@" not in self.url)
        except (ValueError, httpx2.InvalidURL):
            right, clean = False, not set(self.url) & set("@?#")
        if not clean:
            raise UserError(
                "the server's URL holds more than scheme, host, port and path; a key belongs into "
                "the environment, not into the URL"
            )
        if not right:
            raise UserError(
                f"{self.url!r} is no server's URL; expected one such as http://localhost:8000/v1"
            )
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} of the server is {value}, expected more than 0")
        if self.retries < 0:
            raise UserError(f"retries of the server is {self.retries}, expected at least 0")
