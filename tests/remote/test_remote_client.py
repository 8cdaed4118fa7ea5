"""The client against a server that fails in every way we know of."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from remote_clients import GOOD, make_client

from tlm_jax.errors import UserError
from tlm_jax.remote.client import RequestFailed
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.wire import Completion, Request


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("HTTP 429", (429, {}, {"error": {"message": "slow down"}})),
        ("HTTP 500", (500, {}, b"<html>oops</html>")),
        ("HTTP 503", (503, {}, b"")),
        ("not JSON", (200, {}, b"\xff\xfe garbage")),
        ("not JSON", (200, {}, json.dumps(GOOD).encode()[:-20])),
        ("not JSON", (200, {}, b"[" * 100_000)),
        ("not JSON", (200, {"Content-Encoding": "gzip"}, b"this is not gzip")),
        ("broken answer", (200, {"Content-Length": "4096"}, json.dumps(GOOD).encode())),
        ("not a completion", (200, {}, {"choices": []})),
        ("not a completion", (200, {}, {"choices": [{"text": 5}]})),
        ("not a completion", (200, {}, ["choices"])),
        ("not a completion", (200, {}, {"choices": [None]})),
        ("not JSON", (200, {}, b'{"choices":' * 500 + b"1" + b"}" * 500)),
        ("HTTP 500", (500, {}, b"[" * 100_000)),
        ("HTTP 429", (429, {"Retry-After": f"Mon, 01 Jan 2026 {'9' * 30}:00:00 GMT"}, b"")),
        ("error in an answer", (200, {}, {"error": {"message": "overloaded", "code": 503}})),
    ],
)
def test_tries_again_after_a_fault_that_may_pass(server, kind, bad):
    server.script = lambda number, payload: bad if number < 2 else (200, {}, GOOD)
    with make_client(server.url) as client:
        assert client.complete(Request(prompt="2+2=")).text == "four"
    assert len(server.requests) == 3
    assert client.meter.faults == {kind: 2}
    assert client.meter.figures()["requests"] == 3


def test_gives_up_after_the_last_retry_and_says_what_the_server_said(server):
    server.script = lambda number, payload: (500, {}, {"error": {"message": "out of\nmemory"}})
    with (
        make_client(server.url) as client,
        pytest.raises(RequestFailed, match=r"^HTTP 500: out of memory; tried 4 times$"),
    ):
        client.complete(Request(prompt="2+2="))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("body", "message", "retryable", "of_the_run"),
    [
        ({"error": "no such model"}, "no such model", True, False),
        ({"error": {"message": "slow\ndown", "code": 429}}, "slow down", True, False),
        ({"error": {"message": "too long", "code": "400"}}, "too long", False, False),
        ({"error": {"message": "who?", "code": 401}, "choices": []}, "who?", False, True),
        (
            {"object": "error", "message": "m \x1b[31mred", "code": 400},
            r"m \x1b[31mred",
            False,
            False,
        ),
        ({"detail": "not found"}, "not found", True, False),
        (
            {"choices": [{"text": "fo", "error": {"message": "broke off"}}]},
            "broke off",
            True,
            False,
        ),
    ],
)
def test_an_error_in_an_answer_of_status_200_says_what_the_server_said(
    server, body, message, retryable, of_the_run
):
    server.script = lambda number, payload: (200, {}, body)
    with make_client(server.url, retries=0) as client, pytest.raises(RequestFailed) as caught:
        client.complete(Request(prompt="2+2="))
    wanted = Fault("error in an answer", f"error in an answer: {message}", retryable, of_the_run)
    assert caught.value.fault == wanted


@pytest.mark.parametrize("slow", ["body", "headers", "continue"])
def test_the_time_limit_is_for_the_whole_answer(slow):
    """A server that sends a byte now and then is within any limit of a single read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        threading.Thread(target=dribble, args=(listening, slow), daemon=True).start()
        began = time.monotonic()
        with (
            make_client(url, retries=0, timeout_s=0.5) as client,
            pytest.raises(RequestFailed, match=r"no answer within 0\.5 s"),
        ):
            client.complete(Request(prompt="2+2="))
        assert time.monotonic() - began < 2.5
    assert client.meter.faults == {"timeout": 1}


def dribble(listening: socket.socket, slow: str) -> None:
    """Answers one request, one piece each 50 ms."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(1 << 16)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        if slow == "body":
            connection.sendall(head)
            pieces = itertools.repeat(b" ")
        elif slow == "headers":
            pieces = (bytes([byte]) for byte in head * 1000)
        else:
            pieces = itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)


def test_connections_are_kept_and_each_answer_has_the_whole_time(server):
    def slow(number, payload):
        time.sleep(0.2)
        return 200, {}, GOOD

    server.script = slow
    with make_client(server.url, timeout_s=0.6, concurrency=1, retries=0) as client:
        for n in range(4):  # 0.8 s in all
            assert client.complete(Request(prompt=str(n))).text == "four"
    assert len({headers["port"] for headers in server.headers}) == 1


@pytest.mark.parametrize(("status", "of_the_run"), [(400, False), (401, True), (404, True)])
def test_does_not_try_again_what_cannot_pass(server, status, of_the_run):
    server.script = lambda number, payload: (status, {}, {"detail": "no"})
    with make_client(server.url) as client, pytest.raises(RequestFailed) as caught:
        client.complete(Request(prompt="2+2="))
    assert caught.value.fault == Fault(
        f"HTTP {status}", f"HTTP {status}: no", retryable=False, of_the_run=of_the_run
    )
    assert len(server.requests) == 1


def test_waits_as_long_as_the_server_asks(server):
    def script(number, payload):
        return (429, {"Retry-After": "1"}, b"") if number == 0 else (200, {}, GOOD)

    server.script = script
    with make_client(server.url) as client:
        client.complete(Request(prompt="2+2="))
    assert server.times[1] - server.times[0] >= 1.0


def test_does_not_wait_longer_than_it_may(server):
    server.script = lambda number, payload: (429, {"Retry-After": "3600"}, b"")
    with (
        make_client(server.url) as client,
        pytest.raises(RequestFailed, match="asks to wait 3,600 s"),
    ):
        client.complete(Request(prompt="2+2="))
    assert len(server.requests) == 1


def test_a_refused_connection_and_a_timeout_are_told(server):
    with (
        make_client("http://127.0.0.1:9/v1", retries=1) as client,
        pytest.raises(RequestFailed, match=r"no connection to http://127.0.0.1:9/v1 .*2 times"),
    ):
        client.complete(Request(prompt="2+2="))

    over = threading.Event()

    def never(number, payload):
        over.wait(60)
        return 200, {}, GOOD

    server.script = never
    with (
        make_client(server.url, retries=0, timeout_s=0.1) as client,
        pytest.raises(RequestFailed, match=r"no answer within 0\.1 s"),
    ):
        client.complete(Request(prompt="2+2="))
    over.set()
    assert client.meter.faults == {"timeout": 1}


def test_asks_as_many_at_a_time_as_it_may_and_no_more(server):
    three = threading.Barrier(3)

    def together(number, payload):
        three.wait(timeout=20)  # breaks, and so fails, where fewer come
        return 200, {}, GOOD

    server.script = together
    with make_client(server.url, concurrency=3) as client:
        found = dict(client.complete_all((n, Request(prompt=str(n))) for n in range(12)))
    assert sorted(found) == list(range(12))
    assert server.most_under_way == 3


def test_one_failure_among_many_does_not_disturb_the_others(server):
    def script(number, payload):
        return (400, {}, {"detail": "too long"}) if payload["prompt"] == "3" else (200, {}, GOOD)

    server.script = script
    with make_client(server.url) as client:
        found = dict(client.complete_all((n, Request(prompt=str(n))) for n in range(6)))
    assert found.pop(3) == Fault("HTTP 400", "HTTP 400: too long", retryable=False)
    assert all(isinstance(answer, Completion) for answer in found.values())
    assert len(found) == 5


def test_keeps_to_requests_a_minute(server):
    with make_client(server.url, requests_per_minute=1200) as client:  # 20 a second, 40 at once
        for n in range(44):
            client.complete(Request(prompt=str(n)))
    assert server.times[-1] - server.times[0] >= 0.15


def test_the_cache_answers_the_same_request_only(server, tmp_path):
    with make_client(server.url, cache=tmp_path) as client:
        first = client.complete(Request(prompt="2+2=", seed=1))
        again = client.complete(Request(prompt="2+2=", seed=1))
        client.complete(Request(prompt="2+2=", seed=2))
        client.complete(Request(prompt="2+2=", seed=1, temperature=0.5))
    assert (first.cached, again.cached) == (False, True)
    assert again.text == first.text
    assert len(server.requests) == 3
    assert client.meter.cached == 1
    assert client.meter.prompt_tokens == 9  # the cached answer costs nothing
    assert client.meter.cost == 9 * 1.0 + 6 * 2.0
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_damaged_cache_file_counts_as_absent(server, tmp_path):
    with make_client(server.url, cache=tmp_path) as client:
        client.complete(Request(prompt="2+2="))
        (file,) = tmp_path.rglob("*.json")
        file.write_bytes(file.read_bytes()[:30])
        assert not client.complete(Request(prompt="2+2=")).cached
        assert client.complete(Request(prompt="2+2=")).cached


def test_a_cache_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "file").write_text("")
    with (
        make_client(server.url, cache=tmp_path / "file" / "below") as client,
        pytest.raises(UserError, match=r"response cache .* cannot be written"),
    ):
        client.complete(Request(prompt="2+2="))


def test_importing_the_client_imports_no_jax():
    code = "import sys, tlm_jax.remote.client; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]
