"""The client against a server that fails in every way we know of."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.cache import ResponseCache
from tlm_jax.remote.client import Client, RequestFailed, Server
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.meter import Meter
from tlm_jax.remote.transfer import LARGEST_BYTES
from tlm_jax.remote.wire import Completion, Request

SECRET = "sk-very-secret-0123456789"
GOOD = {
    "choices": [{"text": "four", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def make_client(url: str, *, key: str = "", cache: Path | None = None, **settings) -> Client:
    defaults = {"retries": 3, "first_wait_s": 0.01, "longest_wait_s": 1.5, "timeout_s": 5.0}
    return Client(
        Server(url, "model", **(defaults | settings)),
        ApiKey(key),
        cache=None if cache is None else ResponseCache(cache),
        meter=Meter(input_price=1e6, output_price=2e6),
    )


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


ODD = [
    {"finish_reason": "st\ud800op"},
    {"logprobs": {"tokens": ["4"], "token_logprobs": [float("inf")]}},
    {"logprobs": {"tokens": ["4"], "token_logprobs": [1e308]}},
    {"logprobs": {"tokens": ["4"], "token_logprobs": [10**400]}},
    {"logprobs": {"tokens": ["4"], "token_logprobs": [-0.5], "top_logprobs": [{"4": 800.0}]}},
    {"logprobs": {"content": [{"token": "4", "logprob": True}]}},
    {"logprobs": {"tokens": [None], "token_logprobs": [-0.5]}},
    {"token_ids": [10**30]},
    {"token_ids": [-1]},
]


@pytest.mark.parametrize("odd", ODD)
def test_a_malformed_answer_is_one_failure_now_and_later(server, tmp_path, odd):
    """It is not kept, so that it does not come back from the cache either."""

    def script(number, payload):
        choice = {"text": "4", "finish_reason": "stop"}
        return 200, {}, {"choices": [choice | odd if payload["prompt"] == "1" else choice]}

    server.script = script
    for _ in range(2):
        with make_client(server.url, cache=tmp_path, retries=0) as client:
            found = dict(client.complete_all((n, Request(prompt=str(n))) for n in range(3)))
        assert [type(found[n]) for n in range(3)] == [Completion, Fault, Completion]
        assert client.meter.faults == {"not a completion": 1}
    assert len(server.requests) == 4


def test_a_malformed_answer_in_the_cache_is_asked_for_again(server, tmp_path):
    with make_client(server.url, cache=tmp_path) as client:
        client.complete(Request(prompt="2+2="))
        (file,) = tmp_path.rglob("*.json")
        kept = json.loads(file.read_text())
        for odd in ODD:
            choice = kept["response"]["choices"][0] | odd
            file.write_text(json.dumps({**kept, "response": {"choices": [choice]}}))
            assert not client.complete(Request(prompt="2+2=")).cached
        for text in ("[" * 100_000, '{"a":' * 100_000, "null", "[]", "9" * 5000):
            file.write_text(text)
            assert not client.complete(Request(prompt="2+2=")).cached


def test_half_a_surrogate_pair_in_a_prompt_fails_alone(server):
    requests = ((n, Request(prompt=prompt)) for n, prompt in enumerate(["a", "\ud800", "b"]))
    with make_client(server.url) as client:
        found = dict(client.complete_all(requests))
    failed = found[1]
    assert isinstance(failed, Fault)
    assert "half a surrogate pair" in failed.message
    assert not failed.retryable
    assert isinstance(found[0], Completion)
    assert isinstance(found[2], Completion)
    assert len(server.requests) == 2


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


def test_a_body_that_expands_beyond_measure_is_refused(server):
    """1.5 GB of zeros are 1.5 MB of gzip; no more of them than the limit is ever held."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = bytes(1 << 20)
    packed = b"".join(packer.compress(block) for _ in range(1500)) + packer.flush()
    server.script = lambda number, payload: (200, {"Content-Encoding": "gzip"}, packed)
    tracemalloc.start()
    try:
        with (
            make_client(server.url, timeout_s=60) as client,
            pytest.raises(RequestFailed, match=r"^an answer of more than 128 MiB$"),
        ):
            client.complete(Request(prompt="2+2="))
        assert tracemalloc.get_traced_memory()[1] < 3 * LARGEST_BYTES
    finally:
        tracemalloc.stop()
    assert len(server.requests) == 1


def test_compressed_answers_are_read(server):
    packed = gzip.compress(json.dumps(GOOD).encode())
    server.script = lambda number, payload: (200, {"Content-Encoding": "gzip"}, packed)
    with make_client(server.url) as client:
        assert client.complete(Request(prompt="2+2=")).text == "four"


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

    def slow(number, payload):
        time.sleep(0.5)
        return 200, {}, GOOD

    server.script = slow
    with (
        make_client(server.url, retries=0, timeout_s=0.1) as client,
        pytest.raises(RequestFailed, match=r"no answer within 0\.1 s"),
    ):
        client.complete(Request(prompt="2+2="))
    assert client.meter.faults == {"timeout": 1}


def test_asks_as_many_at_a_time_as_it_may_and_no_more(server):
    def slow(number, payload):
        time.sleep(0.05)
        return 200, {}, GOOD

    server.script = slow
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


def test_the_key_reaches_the_server_and_nothing_else(server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    def script(number, payload):
        if number == 0:  # a server that repeats the key in its error, and then in its answer
            return 401 if payload["prompt"] == "bad" else 500, {}, {"detail": f"key {SECRET}"}
        return 200, {}, {"choices": [{"text": f"your key is {SECRET}", "finish_reason": "stop"}]}

    server.script = script
    with make_client(server.url, key=SECRET, cache=tmp_path) as client:
        completion = client.complete(Request(prompt=f"my key: {SECRET}"))
        server.requests.clear()
        with pytest.raises(RequestFailed) as caught:
            client.complete(Request(prompt="bad"))
        shown = [repr(client._key), str(client._key), repr(vars(client)), client.meter.line()]
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert completion.text == "your key is [API key]"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"your key is [API key]" in kept
    everything = [str(caught.value), repr(caught.value.fault), caplog.text, *shown, kept.decode()]
    assert not [text for text in everything if SECRET in text]


@pytest.mark.parametrize(
    "key", ["test", "x", "1", '"', "\\", "EMPTY", "prompt", "temperature", SECRET]
)
def test_what_is_sent_is_what_was_asked_whatever_the_key(server, tmp_path, key):
    """And what was answered is what is read: a key of a few letters is no secret to be kept."""
    prompt = f'this is a test, 1 or x or "EMPTY" \\ prompt {key}'

    def script(number, payload):
        return 200, {}, {"choices": [{"text": payload["prompt"], "finish_reason": "stop"}]}

    server.script = script
    with make_client(server.url, key=key, cache=tmp_path) as client:
        found = [client.complete(Request(prompt=prompt, max_tokens=11)) for _ in range(2)]
        other = client.complete(Request(prompt=prompt.replace(key, "[API key]"), max_tokens=11))
    assert [request["prompt"] for request in server.requests] == [
        *(prompt, prompt.replace(key, "[API key]"))
    ]
    assert server.requests[0]["max_tokens"] == 11
    assert [one.cached for one in found] == [False, True]
    assert not other.cached
    wanted = prompt.replace(key, "[API key]") if key == SECRET else prompt
    assert [one.text for one in found] == [wanted] * 2


@pytest.mark.parametrize("status", [200, 400])
def test_a_key_that_comes_back_escaped_is_found(server, tmp_path, status):
    written = "".join(f"\\u{ord(c):04x}" for c in SECRET)
    name = "choices" if status == 200 else "error"
    values = {"choices": f'[{{"text": "key {written}"}}]', "error": f'"key {written}"'}
    body = f'{{"{written}": 1, "{name}": {values[name]}}}'.encode()
    server.script = lambda number, payload: (status, {}, body)
    with make_client(server.url, key=SECRET, cache=tmp_path) as client:
        try:
            shown = client.complete(Request(prompt="2+2=")).text
        except RequestFailed as failed:
            shown = str(failed)
    assert shown.endswith("key [API key]")
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert SECRET not in kept
    assert written not in kept
    # Where the body is no JSON, escapes stand as they are.
    server.script = lambda number, payload: (200, {}, body[:-1])
    with (
        make_client(server.url, key=SECRET, retries=0) as client,
        pytest.raises(RequestFailed, match=r"not JSON.*API key") as caught,
    ):
        client.complete(Request(prompt="2+2="))
    assert written[:12] not in str(caught.value)


def test_what_a_server_says_cannot_command_the_terminal(server):
    said = "\x1b]0;owned\x07\x1b[2Jgone\u202e\ud800"
    server.script = lambda number, payload: (400, {}, {"error": {"message": said}})
    with make_client(server.url) as client, pytest.raises(RequestFailed) as caught:
        client.complete(Request(prompt="2+2="))
    assert str(caught.value) == r"HTTP 400: \x1b]0;owned\x07\x1b[2Jgone\u202e\ud800"


def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "se\ncret")
    with pytest.raises(UserError, match=r"API key in \$SOME_KEY") as caught:
        ApiKey.from_environment("SOME_KEY")
    assert "cret" not in str(caught.value).replace("secret", "")
    monkeypatch.delenv("SOME_KEY")
    assert ApiKey.from_environment("SOME_KEY").headers() == {}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "is no server's URL"),
        ("ftp://host/v1", "is no server's URL"),
        (f"http://user:{SECRET}@host/v1", "belongs into the environment"),
        (f"http://host/v1?key={SECRET}", "belongs into the environment"),
        (f"user:{SECRET}@host/v1", "belongs into the environment"),
        (f"{SECRET}@host/v1", "belongs into the environment"),
        (f"ftp://user:{SECRET}@host/v1", "belongs into the environment"),
        (f"http://user:{SECRET}@[host/v1", "belongs into the environment"),
        ("http://host:99999999/v1", "is no server's URL"),
        ("http://ho st/v1", "is no server's URL"),
    ],
)
def test_a_url_that_is_none_or_holds_a_key_is_refused(url, message):
    with pytest.raises(UserError, match=message) as caught:
        Server(url, "model")
    assert SECRET not in str(caught.value)


def test_importing_the_client_imports_no_jax():
    code = "import sys, tlm_jax.remote.client; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]
