"""The API key reaches the server and nothing else."""

from __future__ import annotations

import logging

import pytest
from remote_clients import make_client

from tlm_jax.errors import UserError
from tlm_jax.remote.api_key import ApiKey
from tlm_jax.remote.client import RequestFailed, Server
from tlm_jax.remote.wire import Request

SECRET = "sk-very-secret-0123456789"


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
