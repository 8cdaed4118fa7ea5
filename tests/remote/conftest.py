"""A model server on loopback that misbehaves on command."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


def answer(text: str = "four", **more: Any) -> dict[str, Any]:
    """Returns an answer to a request of /completions."""
    choice = {"text": text, "finish_reason": "stop", **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


class ScriptedServer:
    """Answers by `script(number of the request, its JSON) -> (status, headers, body)`."""

    def __init__(self) -> None:
        self.script: Callable[[int, dict[str, Any]], tuple[int, dict[str, str], Any]] = (
            lambda number, payload: (200, {}, answer())
        )
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # A client that gave up closed the connection.
        self._server.handle_error = lambda request, client_address: None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        payload = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append({"path": handler.path, **payload})
            self.headers.append({**handler.headers, "port": str(handler.client_address[1])})
            self.times.append(time.monotonic())
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        status, headers, body = self.script(number, payload)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self._lock:
            self.under_way -= 1
        try:
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            return  # the client gave up waiting
        if "Content-Length" in headers:
            handler.close_connection = True  # less was sent than was announced


@pytest.fixture
def server():
    scripted = ScriptedServer()
    yield scripted
    scripted.close()
