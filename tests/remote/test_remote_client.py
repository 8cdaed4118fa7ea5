"""The client against a server that fails in every way we know of."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.cache import ResponseCache
from tlm_jax.remote.client import Client, RequestFailed, Server
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.meter import Meter
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
