"""Faults of a server: their kind, whether trying again helps, and how long to wait."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import json
import random
from collections.abc import Callable
from typing import Any

from tlm_jax.remote.json_fields import check_depth
from tlm_jax.system.terminal import printable

_RETRYABLE = frozenset({408, 409, 425, 429})
_OF_THE_RUN = frozenset({401, 403, 404, 405})
"""Statuses that every other request would get, too."""

_STATUSES = frozenset(str(status) for status in range(400, 600))


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


def of_status(
    status: int,
    text: str,
    retry_after: str | None,
    now: datetime.datetime,
    redact: Callable[[str], str] = str,
) -> Fault:
    """Returns what an HTTP status other than 200 means.

    Args:
      status: the number.
      text: the body.
      retry_after: the header, where there is one.
      now: what time it is.
      redact: takes secrets out of what the server says.
    """
    try:
        body = json.loads(text)
        check_depth(body)
    except (ValueError, RecursionError):
        body = text
    error = error_in(body)
    return _of_status(status, f"HTTP {status}", error or text, retry_after, now, redact)


def of_error(error: Any, redact: Callable[[str], str] = str) -> Fault:
    """Returns what an error in the body of an answer of status 200 means.

    Some servers and gateways send errors so. Where they give the status as `code`, it counts.
    """
    given = str(error.get("code")) if isinstance(error, dict) else ""
    code = int(given) if given in _STATUSES else 500
    kind = "error in an answer"
    return _of_status(code, kind, error, None, datetime.datetime.now(datetime.UTC), redact)


def error_in(body: Any) -> Any:
    """Returns the error that a body holds in place of an answer, as the server has it, or None."""
    if not isinstance(body, dict) or body.get("choices"):
        choices = body.get("choices") if isinstance(body, dict) else None
        first = choices[0] if isinstance(choices, list) else None
        return first.get("error") or None if isinstance(first, dict) else None
    if body.get("error"):
        return body["error"]
    is_error = body.get("object") == "error" or "choices" not in body
    return body if is_error and (body.get("message") or body.get("detail")) else None


def words_of(error: Any) -> str:
    """Returns what an error says: its message, else all of it."""
    message = error
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error
    return message if isinstance(message, str) else json.dumps(message)


def one_line(text: str, longest: int) -> str:
    """Returns a text as one line that is safe to print, cut to a length."""
    return printable(" ".join(text.split()))[:longest]


def _of_status(
    status: int,
    kind: str,
    error: Any,
    retry_after: str | None,
    now: datetime.datetime,
    redact: Callable[[str], str],
) -> Fault:
    retryable = status in _RETRYABLE or status >= 500
    reason = one_line(redact(words_of(error)), 300)
    return Fault(
        kind=kind,
        message=f"{kind}: {reason}" if reason else kind,
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
        except (ValueError, TypeError, OverflowError, IndexError):
            return 0.0
    return seconds if 0 < seconds < 1e9 else 0.0


def backoff_seconds(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Returns the wait before retry `attempt` (from 0): doubled each time, half of it at random.

    Many clients that failed together do not come back together.
    """
    whole = min(longest_s, first_s * 2.0 ** min(attempt, 60))
    return whole * random.uniform(0.5, 1.0)
