"""Requests, answers, limits and waits, each worked by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from tlm_jax.remote.faults import backoff_seconds, of_status, retry_after_seconds
from tlm_jax.remote.limits import RateLimit
from tlm_jax.remote.wire import MalformedAnswer, Request, parse_completion

NOW = datetime.datetime(2026, 11, 21, 12, 0, 0, tzinfo=datetime.UTC)


def test_a_plain_request_sends_no_fields_that_not_every_server_knows():
    request = Request(prompt="2+2=", max_tokens=5, logprobs=False)
    assert request.endpoint == "completions"
    assert request.payload("m") == {
        "model": "m",
        "prompt": "2+2=",
        "max_tokens": 5,
        "temperature": 1.0,
    }


def test_a_conversation_with_everything():
    request = Request(
        messages=[{"role": "user", "content": "2+2?"}],
        top_k=40,
        top_p=0.9,
        min_p=0.05,
        repetition_penalty=1.1,
        stop=("\n\n",),
        seed=7,
        top_logprobs=3,
        extra={"return_token_ids": True},
    )
    assert request.endpoint == "chat/completions"
    payload = request.payload("m")
    assert payload == {
        "model": "m",
        "messages": [{"role": "user", "content": "2+2?"}],
        "max_tokens": 256,
        "temperature": 1.0,
        "logprobs": True,
        "top_logprobs": 3,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "stop": ["\n\n"],
        "seed": 7,
        "return_token_ids": True,
    }


def test_reads_the_log_probabilities_of_a_chat():
    entries = [
        {"token": "4", "logprob": -0.25, "top_logprobs": [{"token": "5", "logprob": -2.0}]},
        {"token": ".", "logprob": float("-inf"), "top_logprobs": []},
    ]
    body = {
        "choices": [
            {
                "message": {"role": "assistant", "content": "4."},
                "finish_reason": "length",
                "logprobs": {"content": entries},
                "token_ids": [19, 13],
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2},
    }
    found = parse_completion(body)
    assert (found.text, found.finish_reason) == ("4.", "length")
    assert found.tokens == ("4", ".")
    assert found.token_ids == (19, 13)
    assert found.logprobs == (-0.25, -9999.0)
    assert found.top_logprobs == ({"5": -2.0}, {})
    assert (found.prompt_tokens, found.completion_tokens) == (11, 2)


def test_reads_the_log_probabilities_of_a_completion():
    listed = {
        "tokens": ["4", "."],
        "token_logprobs": [-0.25, -1],
        "top_logprobs": [{"4": -0.25}, {".": -1.0, "!": -1.5}],
    }
    found = parse_completion({"choices": [{"text": "4.", "logprobs": listed}]})
    assert found.logprobs == (-0.25, -1.0)
    assert found.top_logprobs == ({"4": -0.25}, {".": -1.0, "!": -1.5})
    assert found.finish_reason == "unknown"


def test_tokens_that_are_parts_of_a_character_are_told_by_their_bytes():
    def token(byte, value):
        return {"token": "\ufffd", "bytes": [byte], "logprob": value}

    entry = {**token(0xA6, -0.5), "top_logprobs": [token(0xA6, -0.5), token(0xB8, -2.5)]}
    found = parse_completion({"choices": [{"text": "?", "logprobs": {"content": [entry]}}]})
    assert found.tokens == ("bytes:\\xa6",)
    assert found.top_logprobs == ({"bytes:\\xa6": -0.5, "bytes:\\xb8": -2.5},)
    special = [{"token": "", "bytes": [], "logprob": value} for value in (-0.5, -2.5)]
    content = [{**special[0], "top_logprobs": special}]
    found = parse_completion({"choices": [{"text": "", "logprobs": {"content": content}}]})
    assert found.top_logprobs == ({"": -0.5},)


def test_one_odd_value_costs_no_answer():
    """What is only counted, and a candidate that the server says nothing of."""
    listed = {
        "tokens": ["4", "."],
        "token_logprobs": [None, -1],
        "top_logprobs": [None, {".": -1.0, "!": None}],
    }
    body = {
        "choices": [{"text": "4.", "logprobs": listed}],
        "usage": {"prompt_tokens": 5.0, "completion_tokens": "many"},
    }
    found = parse_completion(body)
    assert (found.prompt_tokens, found.completion_tokens) == (5, 0)
    assert found.logprobs == (None, -1.0)
    assert found.top_logprobs == ({}, {".": -1.0})
    for odd in (None, [], 7, {"prompt_tokens": -(10**12)}, {"prompt_tokens": 10**400}):
        assert parse_completion({**body, "usage": odd}).prompt_tokens == 0
    null = {"token": "!", "logprob": None}
    entry = {"token": "4", "logprob": -0.5, "top_logprobs": [{"token": "4", "logprob": -0.5}, null]}
    found = parse_completion({"choices": [{"text": "4", "logprobs": {"content": [entry]}}]})
    assert found.top_logprobs == ({"4": -0.5},)


def test_a_message_in_parts_and_its_reasoning():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "2 and 2"}]},
        *({"type": "text", "text": text} for text in ("fo", "ur")),
    ]
    message = {"content": parts, "reasoning_content": "2 and 2"}
    found = parse_completion({"choices": [{"message": message}]})
    assert (found.text, found.reasoning) == ("four", "2 and 2")
    with pytest.raises(MalformedAnswer, match=r"'content' of the message is .*image"):
        parse_completion({"choices": [{"message": {"content": [{"type": "image_url"}]}}]})


def test_half_a_surrogate_pair_becomes_a_question_mark():
    assert parse_completion({"choices": [{"text": "a\ud800b"}]}).text == "a?b"


def test_a_message_without_content_is_empty_text():
    assert parse_completion({"choices": [{"message": {"content": None}}]}).text == ""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.text(st.characters(categories=["Cs", "Cc"]), max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "text", "message", "content", "logprobs", "token", "usage"),
                    *("finish_reason", "logprob", "top_logprobs", "tokens", "token_logprobs"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@hypothesis.given(JSON)
@hypothesis.settings(deadline=None)
def test_any_json_is_a_completion_or_malformed(choice):
    for body in (choice, {"choices": [choice]}, {"choices": [{"text": "", "logprobs": choice}]}):
        with contextlib.suppress(MalformedAnswer):
            found = dataclasses.asdict(parse_completion(body))
            # It can be written to a file of UTF-8.
            json.dumps(found, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("-1", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("soon", 0.0),
        ("1e999", 0.0),
        (f"Mon, 01 Jan 2026 {'9' * 30}:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2026 00:00:00 " + "9" * 400, 0.0),
        ("Mon, 01 Jan 9999 00:00:00 +9999", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after_seconds(value, NOW) == seconds


def test_what_statuses_mean():
    assert of_status(429, "", "7", NOW).wait_s == 7.0
    assert of_status(502, "", None, NOW).retryable
    assert not of_status(422, "", None, NOW).retryable
    assert of_status(403, "", None, NOW).of_the_run
    assert of_status(302, "", None, NOW).of_the_run
    assert of_status(400, '{"error": "bad\\nfield"}', None, NOW).message == "HTTP 400: bad field"


def test_waits_double_up_to_the_longest_with_half_at_random():
    for attempt, whole in ((0, 0.5), (1, 1.0), (4, 8.0), (9, 60.0), (5000, 60.0)):
        waits = [backoff_seconds(attempt, first_s=0.5, longest_s=60.0) for _ in range(50)]
        assert whole / 2 <= min(waits) < max(waits) <= whole


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_no_minute_sees_more_than_the_rate_and_the_burst():
    clock = Clock()
    limit = RateLimit(60, clock=clock, sleep=clock.sleep)
    times = []
    for _ in range(200):
        limit.acquire()
        times.append(clock.now)
    for start in times:
        assert sum(start <= time < start + 60 for time in times) <= 60 + 2
    assert times[-1] - times[0] == pytest.approx(198.0)


def test_a_request_above_the_burst_passes_and_the_next_one_pays():
    clock = Clock()
    limit = RateLimit(6000, clock=clock, sleep=clock.sleep)  # 100 a second, 200 at once
    limit.acquire(1000)
    assert clock.now == 100.0
    limit.acquire(100)
    assert clock.now == pytest.approx(100.0 + 9.0)


def test_settling_gives_back_what_was_not_used():
    clock = Clock()
    limit = RateLimit(6000, clock=clock, sleep=clock.sleep)
    limit.acquire(1000)
    limit.settle(-1000)
    limit.acquire(200)
    assert clock.now == 100.0


def test_a_pause_holds_back_everybody_even_without_a_rate():
    clock = Clock()
    limit = RateLimit(None, clock=clock, sleep=clock.sleep)
    limit.pause(5)
    limit.acquire()
    assert clock.now == 105.0
