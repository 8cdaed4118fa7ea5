"""Answers that are not what a server of completions says: one failure each, now and later."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from remote_clients import GOOD, make_client

from tlm_jax.remote.client import RequestFailed
from tlm_jax.remote.faults import Fault
from tlm_jax.remote.transfer import LARGEST_BYTES
from tlm_jax.remote.wire import Completion, Request

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
