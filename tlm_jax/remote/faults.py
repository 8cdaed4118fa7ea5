"""What can go wrong with a server: its kind, whether trying again helps, and how long to wait."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import json
import random

_RETRYABLE = frozenset({408, 409, 425, 429})
_OF_THE_RUN = frozenset({401, 403, 404, 405})
"""Statuses that every other request would get, too."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a request has no answer.

    Attributes:
      kind: short name to count by, such as "HTTP 429", "timeout", "not JSON".
      message: one line for people.
      retryable: whether the same request may succeed later.
      of_the_run: whether every other request would meet the same.
      wait_s: the least time to wait, where the server said so.
    """

    kind: str
    message: str
    retryable: bool = True
    of_the_run: bool = False
    wait_s: float = 0.0


def of_status(status: int, text: str, retry_after: str | None, now: datetime.datetime) -> Fault:
    """Returns what an HTTP status other than 200 means."""
    retryable = status in _RETRYABLE or status >= 500
    return Fault(
        kind=f"HTTP {status}",
        message=f"HTTP {status}{_said(text)}",
        retryable=retryable,
        of_the_run=status in _OF_THE_RUN or 300 <= status < 400,
        wait_s=retry_after_seconds(retry_after, now) if retryable else 0.0,
    )


def retry_after_seconds(value: str | None, now: datetime.datetime) -> float:
    """Reads a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3); 0 if neither."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return seconds if 0 < seconds < 1e9 else 0.0


def backoff_seconds(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Returns the wait before retry `attempt` (from 0): doubled each time, half of it at random.

    Many clients that failed together do not come back together.
    """
    whole = min(longest_s, first_s * 2.0 ** min(attempt, 60))
    return whole * random.uniform(0.5, 1.0)


def _said(text: str) -> str:
    """Returns ': ' and the server's own words, where there are any, in one short line."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        text = said if isinstance(said, str) else text
    except (ValueError, AttributeError):
        pass
    line = " ".join(text.split())
    return f": {line[:300]}" if line else ""
