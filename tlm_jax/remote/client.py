"""Asks an OpenAI-compatible server: within its limits, again after faults, never twice the same."""

from __future__ import annotations

import dataclasses
import datetime
import json
import queue
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from tlm_jax.errors import UserError
from tlm_jax.remote import faults
from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.cache import ResponseCache
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.limits import RateLimit
from tlm_jax.remote.meter import Meter
from tlm_jax.remote.wire import Completion, MalformedAnswer, Request, parse_completion

K = TypeVar("K", bound=Hashable)


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
      timeout_s: for an answer.
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
            right = parts.scheme in ("http", "https") and bool(parts.hostname)
            clean = not (parts.username or parts.password or parts.query or parts.fragment)
        except ValueError:
            right = clean = False
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


class RequestFailed(Exception):
    """A request without an answer, after all retries."""

    def __init__(self, fault: Fault):
        super().__init__(fault.message)
        self.fault = fault


class Client:
    """Asks one server; threads may share it. A context manager."""

    def __init__(
        self,
        server: Server,
        key: ApiKey,
        *,
        cache: ResponseCache | None = None,
        meter: Meter | None = None,
    ):
        """Connects to nothing yet.

        Args:
          server: whom to ask, and how.
          key: sent along.
          cache: where answers are kept and looked up.
          meter: what is counted.
        """
        self._server, self._key, self._cache = server, key, cache
        self.meter = meter or Meter()
        self._stopped = threading.Event()
        self._requests = RateLimit(server.requests_per_minute, sleep=self._wait)
        self._tokens = RateLimit(server.tokens_per_minute, sleep=self._wait)
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(server.timeout_s, connect=min(server.timeout_s, 10.0)),
            limits=httpx2.Limits(
                max_connections=server.concurrency, max_keepalive_connections=server.concurrency
            ),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stopped.set()
        self._http.close()

    def complete(self, request: Request) -> Completion:
        """Returns the answer to one request, from the cache if it is there.

        Raises:
          RequestFailed: there is none, after all retries.
          UserError: the cache cannot be written.
        """
        url = f"{self._server.url.rstrip('/')}/{request.endpoint}"
        # A prompt that quotes the key would carry it into the cache.
        payload = json.loads(self._key.redact(json.dumps(request.payload(self._server.model))))
        kept = self._cached(url, payload)
        if kept is not None:
            self.meter.count(kept)
            return kept
        body, completion = self._ask(url, payload)
        if self._cache is not None:
            self._cache.put(url, payload, body)
        self.meter.count(completion)
        return completion

    def complete_all(
        self, requests: Iterable[tuple[K, Request]]
    ) -> Iterator[tuple[K, Completion | Fault]]:
        """Yields each request's answer, or why there is none, as they come.

        `requests` is read as far as there is room: an endless one is no harm. Closing the iterator
        before its end stops the client.

        Raises:
          UserError: the cache cannot be written.
        """
        todo: queue.SimpleQueue[tuple[K, Request] | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[K, Completion | Exception]] = queue.SimpleQueue()
        # Daemons: a run that ends early does not wait for answers under way.
        threads = [
            threading.Thread(target=self._work, args=(todo, done), name="request", daemon=True)
            for _ in range(self._server.concurrency)
        ]
        for thread in threads:
            thread.start()
        waiting, pending = iter(requests), 0
        try:
            while True:
                while pending < 2 * self._server.concurrency:
                    following = next(waiting, None)
                    if following is None:
                        break
                    todo.put(following)
                    pending += 1
                if not pending:
                    return
                key, outcome = done.get()
                pending -= 1
                if isinstance(outcome, RequestFailed):
                    yield key, outcome.fault
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    yield key, outcome
        finally:
            if pending:
                self._stopped.set()
            for _ in threads:
                todo.put(None)

    def _work(self, todo: Any, done: Any) -> None:
        """Answers requests until None comes; what goes wrong is an answer, too."""
        while (item := todo.get()) is not None and not self._stopped.is_set():
            key, request = item
            try:
                done.put((key, self.complete(request)))
            except Exception as error:
                done.put((key, error))

    def _cached(self, url: str, payload: Mapping[str, Any]) -> Completion | None:
        body = self._cache.get(url, payload) if self._cache is not None else None
        if body is None:
            return None
        try:
            return dataclasses.replace(parse_completion(body), cached=True)
        except MalformedAnswer:
            return None

    def _ask(self, url: str, payload: Mapping[str, Any]) -> tuple[Any, Completion]:
        estimate = _estimated_tokens(payload)
        for attempt in range(self._server.retries + 1):
            self._requests.acquire()
            self._tokens.acquire(estimate)
            found = self._try(url, payload)
            if not isinstance(found, Fault):
                used = found[1].prompt_tokens + found[1].completion_tokens
                self._tokens.settle(used - estimate if used else 0)
                return found
            self._tokens.settle(-estimate)
            self.meter.count_fault(found.kind)
            too_long = found.wait_s > self._server.longest_wait_s
            if not found.retryable or too_long or attempt == self._server.retries:
                raise RequestFailed(_told(found, attempt + 1, too_long))
            if found.wait_s:
                self._requests.pause(found.wait_s)
            wait = faults.backoff_seconds(
                attempt, first_s=self._server.first_wait_s, longest_s=self._server.longest_wait_s
            )
            self._wait(max(wait, found.wait_s))
        raise AssertionError("the last attempt returns or raises")

    def _try(self, url: str, payload: Mapping[str, Any]) -> tuple[Any, Completion] | Fault:
        """Sends the request once."""
        self.meter.count_request()
        try:
            response = self._http.post(url, json=payload, headers=self._key.headers())
        except httpx2.ConnectError as error:
            return Fault("no connection", f"no connection to {self._server.url} ({error})")
        except httpx2.TimeoutException:
            return Fault("timeout", f"no answer within {self._server.timeout_s:g} s")
        except httpx2.DecodingError as error:
            return Fault("not JSON", f"an answer that cannot be decompressed ({error})")
        except httpx2.TransportError as error:
            return Fault("broken answer", f"the connection broke: {self._key.redact(str(error))}")
        text = self._key.redact(response.content.decode("utf-8", errors="replace"))
        if response.status_code != 200:
            now = datetime.datetime.now(datetime.UTC)
            after = response.headers.get("retry-after")
            return faults.of_status(response.status_code, text, after, now)
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            shown = " ".join(text[:80].split())
            return Fault("not JSON", f"an answer that is not JSON: {shown!r}")
        try:
            return body, parse_completion(body)
        except MalformedAnswer as error:
            return Fault("not a completion", f"an answer that is no completion: {error}")

    def _wait(self, seconds: float) -> None:
        """Sleeps, unless the client is closed meanwhile."""
        if self._stopped.wait(seconds):
            raise RequestFailed(Fault("stopped", "the client was closed", retryable=False))


def _told(fault: Fault, tries: int, too_long: bool) -> Fault:
    message = fault.message
    if too_long:
        message += f"; the server asks to wait {fault.wait_s:,.0f} s"
    elif tries > 1:
        message += f"; tried {tries} times"
    return dataclasses.replace(fault, message=message)


def _estimated_tokens(payload: Mapping[str, Any]) -> int:
    """Returns about what a request will take: a token for four characters, and the whole answer."""
    text = payload.get("prompt") or "".join(
        message.get("content", "") for message in payload.get("messages", ())
    )
    return len(text) // 4 + int(payload["max_tokens"])
