"""Asks an OpenAI-compatible server: within its limits, again after faults, never twice the same."""

from __future__ import annotations

import dataclasses
import datetime
import json
import queue
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import httpx2

from tlm_jax.remote import faults
from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.cache import ResponseCache
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.json_fields import MalformedAnswer, check_depth
from tlm_jax.remote.limits import RateLimit
from tlm_jax.remote.meter import Meter
from tlm_jax.remote.server import Server
from tlm_jax.remote.transfer import LARGEST_BYTES, TooLarge, Transfer
from tlm_jax.remote.wire import Completion, Request, parse_completion

K = TypeVar("K", bound=Hashable)


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
        self._transfer = Transfer(server.timeout_s, server.concurrency)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stopped.set()
        self._transfer.close()

    def complete(self, request: Request) -> Completion:
        """Returns the answer to one request, from the cache if it is there.

        Raises:
          RequestFailed: there is none, after all retries.
          UserError: the cache cannot be written.
        """
        url = f"{self._server.url.rstrip('/')}/{request.endpoint}"
        payload = request.payload(self._server.model)
        # The server reads what was asked; a prompt that quotes the key carries it into no file.
        written = self._key.redact_json(payload)
        kept = self._cached(url, payload, written)
        if kept is not None:
            self.meter.count(kept)
            return kept
        body, completion = self._ask(url, payload)
        if self._cache is not None:
            self._cache.put(url, payload, body, written)
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

    def _cached(self, url: str, payload: Mapping[str, Any], written: Any) -> Completion | None:
        body = self._cache.get(url, payload, written) if self._cache is not None else None
        if body is None:
            return None
        try:
            return dataclasses.replace(parse_completion(body), cached=True)
        except MalformedAnswer:
            return None

    def _ask(self, url: str, payload: Mapping[str, Any]) -> tuple[Any, Completion]:
        content = _encoded(payload)
        estimate = _estimated_tokens(payload)
        for attempt in range(self._server.retries + 1):
            self._requests.acquire()
            self._tokens.acquire(estimate)
            found = self._try(url, content)
            if not isinstance(found, Fault):
                used = found[1].prompt_tokens + found[1].completion_tokens
                self._tokens.settle(used - estimate if used else 0)
                return found
            self._tokens.settle(-estimate)
            self.meter.count_fault(found.kind)
            too_long = found.wait_s > self._server.longest_wait_s
            if not found.retryable or too_long or attempt == self._server.retries:
                raise RequestFailed(_described(found, attempt + 1, too_long))
            if found.wait_s:
                self._requests.pause(found.wait_s)
            wait = faults.backoff_seconds(
                attempt, first_s=self._server.first_wait_s, longest_s=self._server.longest_wait_s
            )
            self._wait(max(wait, found.wait_s))
        raise AssertionError("the last attempt returns or raises")

    def _try(self, url: str, content: bytes) -> tuple[Any, Completion] | Fault:
        """Sends the request once."""
        self.meter.count_request()
        redact = self._key.redact
        try:
            received = self._transfer.post(url, content, self._key.headers())
        except httpx2.ConnectError as error:
            return Fault("no connection", f"no connection to {self._server.url} ({error})")
        except httpx2.TimeoutException:
            return Fault("timeout", f"no answer within {self._server.timeout_s:g} s")
        except httpx2.DecodingError as error:
            return Fault("not JSON", f"an answer that cannot be decompressed ({error})")
        except httpx2.TransportError as error:
            reason = faults.one_line(redact(str(error)), 300)
            return Fault("broken answer", f"the connection broke: {reason}")
        except TooLarge:
            message = f"an answer of more than {LARGEST_BYTES >> 20} MiB"
            return Fault("too large", message, retryable=False)
        text = received.body.decode("utf-8-sig", errors="replace")
        if received.status != 200:
            now = datetime.datetime.now(datetime.UTC)
            return faults.of_status(received.status, text, received.retry_after, now, redact)
        return self._read(text)

    def _read(self, text: str) -> tuple[Any, Completion] | Fault:
        """Reads an answer of status 200."""
        try:
            body = json.loads(text)
            check_depth(body)
        except (ValueError, RecursionError):
            shown = faults.one_line(self._key.redact(text[:4096]), 80)
            return Fault("not JSON", f"an answer that is not JSON: {shown!r}")
        body = self._key.redact_json(body)
        try:
            if (error := faults.error_in(body)) is not None:
                return faults.of_error(error)
            return body, parse_completion(body)
        except MalformedAnswer as error:
            reason = faults.one_line(str(error), 300)
            return Fault("not a completion", f"an answer that is no completion: {reason}")

    def _wait(self, seconds: float) -> None:
        """Sleeps, unless the client is closed meanwhile."""
        if self._stopped.wait(seconds):
            raise RequestFailed(Fault("stopped", "the client was closed", retryable=False))


def _encoded(payload: Mapping[str, Any]) -> bytes:
    """Returns a request as it is sent.

    Raises:
      RequestFailed: it cannot be.
    """
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        message = "the prompt holds half a surrogate pair, which is no text and cannot be sent"
        raise RequestFailed(Fault("not sent", message, retryable=False)) from None


def _described(fault: Fault, tries: int, too_long: bool) -> Fault:
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
