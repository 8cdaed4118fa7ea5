"""Sends a request and takes its answer, within a time and a size for the whole of it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpcore2
import httpx2

LARGEST_BYTES = 128 << 20
"""Of an answer, decompressed: more than 32,000 tokens with 20 candidates each take."""

_CONNECT_SECONDS = 10.0


class TooLarge(Exception):
    """An answer is larger than `LARGEST_BYTES`."""


@dataclasses.dataclass(frozen=True)
class Received:
    """An answer.

    Attributes:
      status: of HTTP.
      retry_after: the header of that name, where there is one.
      body: decompressed.
    """

    status: int
    retry_after: str | None
    body: bytes


class Transfer:
    """Connections to a server; threads may share them."""

    def __init__(self, timeout_s: float, connections: int):
        """Connects to nothing yet.

        Args:
          timeout_s: from the first byte sent to the last one received, connecting included.
          connections: most of them at a time.
        """
        self._timeout_s, self._deadline = timeout_s, _Deadline()
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_SECONDS)),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            headers={"Accept-Encoding": "gzip, deflate"},
        )
        # The limits of httpx2 are for each read: a server that sends a byte a second is within
        # them for ever. It has no public place for a limit of the whole.
        for transport in (self._http._transport, *self._http._mounts.values()):
            pool: Any = getattr(transport, "_pool", None)
            if pool is not None:
                pool._network_backend = _TimedBackend(pool._network_backend, self._deadline)

    def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Received:
        """Posts JSON and returns the answer, whatever its status.

        Raises:
          httpx2.TransportError, httpx2.DecodingError: there is none.
          TooLarge: it is too large.
        """
        self._deadline.at = time.monotonic() + self._timeout_s
        request_headers = {**headers, "Content-Type": "application/json"}
        with self._http.stream("POST", url, content=content, headers=request_headers) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LARGEST_BYTES:
                    raise TooLarge
            after = response.headers.get("retry-after")
            return Received(response.status_code, after, bytes(body))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


class _Deadline(threading.local):
    """When the request of this thread must have its answer."""

    at: float = float("inf")

    def left(self, timeout: float | None, error: type[Exception]) -> float:
        """Returns the seconds that one more operation may take; raises where there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise error
        return left if timeout is None else min(timeout, left)


class _TimedBackend(httpcore2.NetworkBackend):
    """Opens connections that keep to the deadline."""

    def __init__(self, backend: httpcore2.NetworkBackend, deadline: _Deadline):
        self._backend, self._deadline = backend, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.NetworkStream:
        left = self._deadline.left(timeout, httpcore2.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, left, local_address, socket_options)
        return _TimedStream(stream, self._deadline)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore2.NetworkStream:
        left = self._deadline.left(timeout, httpcore2.ConnectTimeout)
        stream = self._backend.connect_unix_socket(path, left, socket_options)
        return _TimedStream(stream, self._deadline)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _TimedStream(httpcore2.NetworkStream):
    """A connection that keeps to the deadline."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: _Deadline):
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = self._deadline.left(timeout, httpcore2.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, left)
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
