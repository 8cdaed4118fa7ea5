"""Tokens of captured solutions: their bytes, which of them write the text, their distributions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.data.formats import FORMATS
from tlm_jax.data.teacher_imports.captured import Step, Unusable, covering, piece_of, within_text
from tlm_jax.data.teacher_imports.distributions import SeenTokens, pieces_in
from tlm_jax.data.teacher_imports.examples import Solution, solution_record
from tlm_jax.errors import UserError


def steps(*pieces):
    return [Step(piece, ((piece, -0.5),)) for piece in pieces]


@pytest.mark.parametrize(
    ("text", "given_bytes", "piece"),
    [
        (" the", None, b" the"),
        ("é", None, "é".encode()),
        ("\ufffd", [0xE2, 0x80], b"\xe2\x80"),
        ("bytes:\\xe2\\x80", None, b"\xe2\x80"),
        ("bytes: \\xe2a", None, b" \xe2a"),
        ("bytes:", None, b"bytes:"),
        ("<|endoftext|>", None, "<|endoftext|>"),
        ("<|im_end|>", [60, 124], "<|im_end|>"),
        ("<<", None, b"<<"),
        ("<", None, b"<"),
    ],
)
def test_a_token_is_bytes_or_a_special_name(text, given_bytes, piece):
    assert piece_of(text, given_bytes) == piece


def test_the_tokens_that_write_the_text():
    whole = steps(b"\n", b" If", b" 2", b".", b"\n", "<|im_end|>", b"x")
    assert [s.piece for s in within_text(whole, "If 2.")] == [b" If", b" 2", b".", "<|im_end|>"]
    assert [s.piece for s in within_text(whole[:4], "If 2.")] == [b" If", b" 2", b"."]
    assert [s.piece for s in within_text(whole, "2")] == [b" 2"]


@pytest.mark.parametrize(
    ("pieces", "text", "reason"),
    [
        ((b"ab", b"c"), "b", "within a token"),
        ((b"a", b"bc"), "ab", "within a token"),
        ((b"a",), "x", "do not write"),
        ((), "x", "do not write"),
        ((b"a",), "  ", "empty"),
    ],
)
def test_other_texts_are_unusable(pieces, text, reason):
    with pytest.raises(Unusable, match=reason):
        within_text(steps(*pieces), text)


@given(st.lists(st.text("ab \n", min_size=0, max_size=3), min_size=1, max_size=8), st.data())
def test_covering_finds_what_stands_there(texts, data):
    pieces = [text.encode() for text in texts]
    first = data.draw(st.integers(0, len(pieces) - 1))
    last = data.draw(st.integers(first + 1, len(pieces)))
    wanted = b"".join(pieces[first:last]).strip()
    try:
        found = covering(pieces, wanted)
    except Unusable:
        found = None  # nothing wrong is said where an earlier place begins within a token
    if found is None:
        assert not wanted or b"".join(pieces).find(wanted) < sum(map(len, pieces[:last]))
        return
    assert b"".join(pieces[found[0] : found[1]]).strip() == wanted


def test_distributions_are_sorted_and_keep_the_tail():
    given_steps = [
        Step(b"b", ((b"a", math.log(0.2)), (b"b", math.log(0.5)), (b"c", -math.inf))),
        Step("<|im_end|>", (("<|im_end|>", math.log(0.9)),)),
        Step(b"a", ()),
    ]
    seen = SeenTokens.of(pieces_in(given_steps))
    assert seen.table.pieces == (b"", b"", b"a", b"b", b"c")
    assert seen.table.special == {0, 1}
    assert seen.table.eos_id == 0
    found = seen.distributions(given_steps, 3)
    assert found.token_ids.tolist() == [3, 0, 2]
    assert found.steps.ids.tolist() == [[3, 2, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.exp(found.steps.logprobs[0]), [0.5, 0.2, 0], rtol=1e-6)
    np.testing.assert_allclose(np.exp(found.steps.tail_logprobs), [0.3, 0.1, 0], atol=1e-6)
    assert found.steps.weights.tolist() == [1, 1, 0]
    # What does not fit becomes tail.
    narrow = seen.distributions(given_steps, 1).steps
    np.testing.assert_allclose(np.exp(narrow.tail_logprobs[0]), 0.5, rtol=1e-6)


def test_sums_above_one_are_scaled_where_rounding_explains_them():
    step = Step(b"a", ((b"a", math.log(0.9001)), (b"b", math.log(0.1))))
    seen = SeenTokens.of(pieces_in([step]))
    found = seen.distributions([step], 2, rounding=5e-5).steps
    np.testing.assert_allclose(np.exp(found.logprobs).sum(), 1, rtol=1e-6)
    assert found.tail_logprobs[0] == -np.inf
    with pytest.raises(Unusable, match="more than 1"):
        seen.distributions([step], 2)
    worse = Step(b"a", ((b"a", math.log(0.9)), (b"b", math.log(0.2))))
    with pytest.raises(Unusable, match="more than 1"):
        seen.distributions([worse], 2, rounding=5e-5)


def test_numbers_of_tokens_do_not_depend_on_their_order_and_stay():
    one = SeenTokens.of([b"b", b"a", "</s>"])
    other = SeenTokens.of(["</s>", b"a", b"b", b"a"])
    assert one.table == other.table
    more = SeenTokens.of([b"aa", b"c", b"a"], one.table)
    assert more.table.pieces == (*one.table.pieces, b"aa", b"c")
    assert more.table.fingerprint != one.table.fingerprint
    assert [more.id_of(piece) for piece in (b"a", b"b", b"aa", "<|im_end|>", "<|x|>", b"")] == [
        *(2, 3, 4, 0, 1, 1)
    ]


def test_tokens_that_end_a_text_are_one():
    half = math.log(0.25)
    step = Step("</s>", (("</s>", half), ("<|eot_id|>", half), (b"a", half)))
    found = SeenTokens.of(pieces_in([step])).distributions([step], 3).steps
    assert found.ids.tolist() == [[0, 2, 0]]
    np.testing.assert_allclose(np.exp(found.logprobs), [[0.5, 0.25, 0]])


def test_a_record_says_what_the_formats_are_to_write():
    usual = solution_record(
        Solution("q/1", "How many?", "2 + 2 = 4.\nThe answer is 4", "4", "numeric", None, "q"), "s"
    )
    assert usual.rationale == "2 + 2 = 4."
    assert usual.meta == {"question_id": "q"}
    assert FORMATS["cot_zero_shot"].targets(usual) == "2 + 2 = 4.\nThe answer is 4"
    assert "targets" not in usual.generated
    other = solution_record(Solution("q/2", "How many?", "2 + 2\n#### 4", "4"), "s")
    assert other.generated["targets"] == "2 + 2\n#### 4"
    choice = solution_record(
        Solution("c", "Which?", "Sky.\nThe answer is (B)", "B", "choice", ["red", "blue"]), "s"
    )
    assert FORMATS["cot_zero_shot"].targets(choice) == "Sky.\nThe answer is (B)"
    unknown = solution_record(Solution("u", "Why?", "Because."), "s")
    assert (unknown.kind, unknown.answer) == ("text", "")
    with pytest.raises(UserError, match=r"^f:3: .*must be a finite number"):
        solution_record(Solution("u", "Why?", "x", "four", "numeric", place="f:3"), "s")
