"""Answers of servers that are odd: each is read as what it is, or left out with its reason."""

from __future__ import annotations

import json
import math

import pytest
from imported_answers import chat, close, completion, token

from tlm_jax.errors import UserError
from tlm_jax.runs.cache_teacher.commands import import_captured

DEEPSEEK_END = "<\uff5cend\u2581of\u2581sentence\uff5c>"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", None])
def test_an_answer_behind_its_reasoning_gets_its_own_distributions(imported, name):
    """The first place where the text stands is within the reasoning, at other probabilities."""
    thought = [token("42", math.log(0.5), ("41", math.log(0.4))), " is", " 6", "*7"]
    answer = token("42", math.log(0.9), ("43", math.log(0.05)))
    told = {} if name is None else {name: "42 is 6*7"}
    marks = ["</think>", "\n\n"] if name is None else ["\n"]
    assert imported(chat("42", *thought, *marks, answer, "<|im_end|>", **told)) == [b"42", b"END"]
    assert imported.candidates[0] == close({b"42": 0.9, b"43": 0.05})


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (chat("42", "42", " is", " it", ".", " So", " 42"), "the tokens go on behind the text"),
        (chat("42", "So", " 42"), "more than the text, such as a reasoning part"),
        (chat("42", "42", "\n", "Q"), "the tokens go on behind the text, and not with a known end"),
        (chat("42", "42", "[e~["), r"not with a known end: '[e~['"),
        (chat("42", "4"), "the tokens do not write the text"),
        (chat("42", "4", "2."), "the text ends within a token"),
        (chat("4 2", "4", "2"), "the tokens do not write the text"),
        (chat("42", "4", "<|fim|>", "2"), "a special token within the text"),
        (chat("42", "4", token("", bytes=[]), "2"), "of which the source gives no text"),
        (chat("42", "token_id:19", "token_id:2"), "return_tokens_as_token_ids"),
        (chat("42", token("42", float("nan"))), "a number that is no log-probability"),
        (chat("42", token("42", 800.0)), "a number that is no log-probability"),
        (chat("42", token("42", 10**400)), "a number that is no log-probability"),
        (chat("42", token("42", "-0.1")), "a number that is no log-probability"),
        (chat("42", token("42", True)), "a number that is no log-probability"),
        (chat("42", {"token": 5}), "'logprobs' is not what the protocol says"),
        (completion("42", ["42"], [-0.1, -0.2]), "'logprobs' is not what the protocol says"),
        (completion("42", ["42"], [-0.1], [{}, {}]), "'logprobs' is not what the protocol says"),
        (chat("42", token("42", bytes=[300])), "'logprobs' is not what the protocol says"),
        ({**chat("42", "42"), "finish_reason": "content_filter"}, "unfinished"),
        ({**chat("42", "42"), "finish_reason": "tool_calls"}, "unfinished"),
        (chat("42", token("42", -0.1, ("43", -0.5))), "probabilities sum to more than 1"),
        (completion("6*7=42", ["6*7=", "42"], [None, -0.1]), "an echoed prompt, and no 'prompt'"),
    ],
)
def test_what_is_not_exactly_its_text_costs_itself_alone(imported, choice, reason):
    assert imported(choice, chat("fine", "fine")) == [b"fine"]
    assert f"left out  1 {reason}" in imported.shown or reason in imported.shown
    assert "answers.jsonl:1)" in imported.shown


def test_an_odd_gold_answer_costs_itself_alone(tmp_path, capsys):
    odd = [
        {"answer": "four"},
        {"gold": "forty", "rule": "numeric"},
        {"answer": "E", "kind": "choice", "options": ["x", "y"]},
        {"answer": "A", "kind": "choice", "options": ["x"] * 30},
        {"answer": "\ud800"},
        {"id": "\ud800"},
    ]
    rows = [
        {"id": str(n), "question": "Q?", **row, "choices": [chat(f"{n}", f"{n}")]}
        for n, row in enumerate([*odd, {"answer": [4], "kind": ["x"], "options": [1, 2]}])
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "answer": "4"}]))
    to = ["--teacher=t", "--output_dir", str(tmp_path / "c")]
    assert import_captured(["openai", str(path), *to]) == 0
    shown = capsys.readouterr().out
    assert "kept      1 solutions" in shown
    assert "left out  5 with a gold answer or options that are none of their kind" in shown
    assert "left out  2 halves of surrogate pairs" in shown


def test_errors_in_place_of_answers_are_counted(tmp_path, capsys):
    good = {"id": "a", "question": "Q?", "choices": [chat("42", "42")]}
    bad = [
        {"id": "b", "question": "Q?", "error": "over\x1b[1mloaded"},
        {"custom_id": "c", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}},
        {"custom_id": "d", "response": None, "error": {"code": "x", "message": "expired"}},
        {"custom_id": "e", "response": {"object": "error", "message": "no", "code": 400}},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*bad, good]))
    to = ["--teacher=t", "--output_dir", str(tmp_path / "c")]
    assert import_captured(["openai", str(path), *to]) == 0
    shown = capsys.readouterr().out
    assert "kept      1 solutions" in shown
    assert "left out  2 an error in place of an answer: no (first: " in shown
    assert "an error in place of an answer: expired" in shown
    assert r"over\x1b[1mloaded" in shown


@pytest.mark.parametrize("end", [DEEPSEEK_END, "<turn|>", "<|eot|>", "[EOS]", "<|made_up|>"])
@pytest.mark.parametrize("written", [False, True])
def test_the_end_of_a_text_is_known_and_is_never_text(imported, end, written):
    """DeepSeek's with full-width bars; one of an unknown name where the server says it ended."""
    first = token("42", math.log(0.75), (end, math.log(0.125)))
    choice = chat("42" + end * written, first, token(end, math.log(0.5), (".", math.log(0.25))))
    assert imported(choice) == [b"42", b"END"]
    assert imported.text == "42"
    assert imported.candidates[0] == close({b"42": 0.75, b"END": 0.125})
    assert imported.candidates[1] == close({b"END": 0.5, b".": 0.25})


def test_the_end_of_a_text_can_be_named(imported):
    choice = chat("42", token("42", math.log(0.75), ("[e~[", math.log(0.125))), "[e~[")
    assert imported(choice, options=("--end_token", "[e~[")) == [b"42", b"END"]
    assert imported.candidates[0] == close({b"42": 0.75, b"END": 0.125})


def test_a_special_token_behind_a_text_that_was_cut_is_no_end(imported):
    choice = {**chat("42", "42", "<|made_up|>"), "finish_reason": "length"}
    assert imported(choice, chat("fine", "fine"), options=("--keep_unfinished",)) == [b"fine"]
    assert "behind the text a special token that is no known end: <|made_up|>" in imported.shown


@pytest.mark.parametrize(
    ("choice", "row"),
    [
        ({"stop_reason": "Q:"}, {}),
        ({"matched_stop": "\n\nQ:"}, {}),
        ({}, {"stop": ["x", "Q:"]}),
        ({}, {"request": {"body": {"stop": "Q:", "messages": []}}}),
    ],
)
def test_a_stop_string_behind_the_text_is_no_part_of_it(imported, choice, row):
    assert imported(chat("4", "4", "\n\n", "Q", ":") | choice, **row) == [b"4"]


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (["It", "\u0120is", "\u010a", "\u0120\u00c3\u00a9"], [b"It", b" is", b"\n", " é".encode()]),
        (["\u2581It", "\u2581is", "<0x0A>", "\u2581é"], [b" It", b" is", b"\n", " é".encode()]),
    ],
)
def test_tokens_as_their_tokenizer_writes_them(imported, raw, plain):
    assert imported(chat("It is\n é", *raw, "</s>")) == [*plain, b"END"]
    assert imported.candidates[1] == close({b" is": math.exp(-0.1)})


@pytest.mark.parametrize("bare", [False, True])
def test_raw_candidates_are_the_tokens_that_they_mean(imported, bare):
    """`ĠHello` beside ` Hello` is the same token, not one more."""
    half, some = math.log(0.5), math.log(0.25)
    tops = [{"token": "\u0120Hello", "logprob": half}, {"token": "\u0120Hi", "logprob": some}]
    if not bare:
        tops.append({"token": " Hello", "logprob": half})
    step = {"token": " Hello", "logprob": half, "top_logprobs": tops}
    assert imported(chat("Oh Hello", "Oh", step)) == [b"Oh", b" Hello"]
    assert imported.candidates[1] == close({b" Hello": 0.5, b" Hi": 0.25})
    assert imported.tails[1] == pytest.approx(0.25, abs=6e-3)


def test_letters_that_look_raw_stay_where_the_text_has_them(imported):
    """A Maltese answer: `Ġ` is a letter of it."""
    step = token("\u0120", math.log(0.5), ("\u0120i", math.log(0.25)))
    assert imported(chat("\u0120unju", step, "unju")) == ["\u0120".encode(), b"unju"]
    assert imported.candidates[0] == close({"\u0120".encode(): 0.5, "\u0120i".encode(): 0.25})


def test_of_candidates_with_one_text_the_most_probable_counts(imported):
    """As in `tlm_jax.remote`; the written token may be any of them, or none of those listed."""
    quarter = math.log(0.25)
    for logprob, tops in (
        (math.log(0.5), [("42", quarter), ("43", math.log(0.125))]),
        (quarter, [("42", math.log(0.5)), ("43", math.log(0.125))]),
    ):
        assert imported(chat("42", token("42", logprob, *tops))) == [b"42"]
        assert imported.candidates[0] == close({b"42": 0.5, b"43": 0.125})
        assert imported.tails[0] == pytest.approx(0.375, abs=6e-3)
    alone = {**token("42", -6.0), "top_logprobs": token("43", math.log(0.9))["top_logprobs"]}
    imported(chat("42", alone))
    assert imported.candidates[0] == close({b"43": 0.9, b"42": math.exp(-6)})


def test_null_and_impossible_candidates_are_left_out_alone(imported):
    tops = [("43", None), ("44", -9999.0), ("45", float("-inf")), ("46", math.log(0.25))]
    assert imported(chat("42", token("42", math.log(0.5), *tops))) == [b"42"]
    assert imported.candidates[0] == close({b"42": 0.5, b"46": 0.25})
    assert imported.tails[0] == pytest.approx(0.25, abs=6e-3)
    silent = {**token("42", None), "top_logprobs": token("43", math.log(0.25))["top_logprobs"]}
    assert imported(chat("42", silent)) == [b"42"]
    assert imported.candidates[0] == close({b"43": 0.25})


@pytest.mark.parametrize(
    ("logprob", "other"), [(0.0009, -6.9), (-0.51, -0.91), (0.004, -1000.0), (-0.69, -0.69)]
)
def test_rounded_rows_are_kept_and_scaled(imported, logprob, other):
    """Two decimals, and what is a little above zero: the reader and the table agree on it."""
    assert imported(chat("42", token("42", logprob, ("43", other)))) == [b"42"]
    total = math.exp(logprob) + math.exp(other)
    assert imported.candidates[0][b"42"] == pytest.approx(
        math.exp(logprob) / max(total, 1), abs=6e-3
    )


def test_an_echoed_prompt_is_no_part_of_the_solution(imported):
    """As vLLM answers with echo: the first token has no log-probability."""
    tops = [None, {"*": -1.0}, {"7": -1.0}, {"=": -1.0}, {"4": -0.1}, {"2": -0.2, "3": -2.0}]
    logprobs = [None, -1.0, -1.0, -1.0, -0.1, -0.2]
    choice = completion("6*7=42", ["6", "*", "7", "=", "4", "2"], logprobs, tops)
    assert imported(choice, prompt="6*7=") == [b"4", b"2"]
    assert imported.text == "42"
    assert imported.candidates[1] == close({b"2": math.exp(-0.2), b"3": math.exp(-2.0)})
    asked = {"request": {"body": {"prompt": "6*7=", "echo": True}}}
    first = [-2.0, *logprobs[1:]]
    choice = completion("6*7=42", ["6", "*", "7", "=", "4", "2"], first, tops)
    assert imported(choice, **asked) == [b"4", b"2"]
    # Nothing says so: a completion that begins with its whole prompt.
    assert imported(choice, prompt="6*7=") == [b"4", b"2"]
    assert imported(choice, prompt=["6*7="]) == [b"4", b"2"]
    assert imported({**choice, "echo": True}, prompt="6*7=") == [b"4", b"2"]
    # Who repeats the question unasked has written all of it.
    assert len(imported(choice, prompt="6*7=", echo=False)) == 6
    assert len(imported(choice, prompt="6*7=", usage={"completion_tokens": 6})) == 6
    assert imported(choice, prompt="6*7=", usage={"completion_tokens": 2}) == [b"4", b"2"]
    for unknown in ({"usage": {"completion_tokens": 2}}, {"echo": True}):
        with pytest.raises(UserError, match="1 an echoed prompt, and no 'prompt'"):
            imported(choice, prompt=[1, 2, 3], **unknown)
    spaced = completion(" 6*7=\n42", [" 6", "*7", "=", "\n", "42"], [None, -1.0, -1.0, -1.0, -0.1])
    assert imported(spaced, prompt="6*7= ") == [b"42"]
    other = completion("6 * 7 = 42", ["6 * 7 =", " 42"], [None, -0.1])
    assert imported(other, chat("fine", "fine"), prompt="6*7=") == [b"fine"]
    assert "an echoed prompt" in imported.shown
    within = completion("6*7=42", ["6*7", "=4", "2"], [None, -1.0, -0.1])
    assert imported(within, chat("fine", "fine"), prompt="6*7=") == [b"fine"]


def test_a_message_in_parts(imported):
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "6*7"}]},
        *({"type": "text", "text": text} for text in ("4", "2")),
    ]
    choice = chat("", "4", "2", "</s>", content=parts)
    question = [{"role": "user", "content": [{"type": "text", "text": "6*7"}]}]
    assert imported(choice, question=None, messages=question) == [b"4", b"2", b"END"]
    assert imported.records[0].question == "6*7"


def test_parts_of_a_character(imported):
    bird = "\N{BIRD}".encode()
    parts = [
        {"token": "\ufffd", "bytes": list(part), "logprob": -0.1, "top_logprobs": []}
        for part in (bird[:2], bird[2:])
    ]
    assert imported(chat("a\N{BIRD}b", "a", *parts, "b")) == [b"a", bird[:2], bird[2:], b"b"]
    written = ["bytes:\\xf0\\x9f", "bytes:\\x90\\xa6"]
    assert imported(completion("\N{BIRD}", written, [-0.1, -0.2])) == [bird[:2], bird[2:]]
    silent = [{**part, "bytes": None} for part in parts]
    assert imported(chat("\N{BIRD}", *silent), chat("fine", "fine")) == [b"fine"]


def test_each_choice_is_a_solution_of_its_own(imported):
    row = {"choices": [chat("42", "42"), chat("43", "43"), {**chat("44", "44"), "index": 2}]}
    imported(chat("42", "42"), **row)
    assert [record.id for record in imported.records] == ["q0/0", "q0/1", "q0/2"]


def test_choices_stand_in_the_order_of_their_indices(imported):
    second, first = {**chat("43", "43"), "index": 1}, {**chat("42", "42"), "index": 0}
    assert imported(first, choices=[second, first]) == [b"42"]
    assert [record.id for record in imported.records] == ["q0/0", "q0/1"]
