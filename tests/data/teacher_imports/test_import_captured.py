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
        ("<\uff5cend\u2581of\u2581sentence\uff5c>", [1], "<\uff5cend\u2581of\u2581sentence\uff5c>"),
        ("<end_of_turn>", None, "<end_of_turn>"),
        ("<extra_id_1>", None, "<extra_id_1>"),
        ("[EOS]", None, "[EOS]"),
        ("<s", None, b"<s"),
        ("<<", None, b"<<"),
        ("<", None, b"<"),
    ],
)
def test_a_token_is_bytes_or_a_special_name(text, given_bytes, piece):
    assert piece_of(text, given_bytes) == piece


def test_the_tokens_that_write_the_text():
    whole = steps(b"\n", b" If", b" 2", b".", b"\n", "<|im_end|>")
    assert [s.piece for s in within_text(whole, "If 2.")] == [b" If", b" 2", b".", "<|im_end|>"]
    assert [s.piece for s in within_text(whole[:4], "If 2.")] == [b" If", b" 2", b"."]
    stopped = steps(b" If", b" 2", b".", b"\n\nQ", b":", b" ")
    assert [s.piece for s in within_text(stopped, "If 2.", stops=["A:", "Q:"])] == [
        *(b" If", b" 2", b".")
    ]


@pytest.mark.parametrize(
    ("pieces", "text", "reason"),
    [
        ((b"ab", b"c"), "b", "more than the text"),
        ((b"a", b"bc"), "ab", "ends within a token"),
        ((b"a", b"b", b"c"), "b", "more than the text"),
        ((b"a", b"b"), "a", r"go on behind the text, and not with a known end: 'b'"),
        ((b"a", b"b", b"c"), "a", r"go on behind the text, and not with a known end$"),
        ((b"a", "<|im_end|>", b"x"), "a", "go on behind the text"),
        ((b"a", "<|im_start|>", b"b"), "ab", "a special token within the text"),
        ((b"a", b"", b"b"), "ab", "within the text of which the source gives no text"),
        ((b"a", "<|im_start|>"), "a", "a special token that is no known end: <|im_start|>"),
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
    start = data.draw(st.integers(0, len(pieces) - 1))
    last = data.draw(st.integers(start + 1, len(pieces)))
    wanted = b"".join(pieces[start:last]).strip()
    if not wanted:
        with pytest.raises(Unusable, match="empty"):
            covering(pieces, wanted, start)
        return
    first, end = covering(pieces, wanted, start)
    assert b"".join(pieces[first:end]).strip() == wanted
    assert not b"".join(pieces[start:first]).strip()


@given(
    st.lists(st.sampled_from([b"a", b"b", b" a", b"\n"]), max_size=6), st.text("ab ", max_size=4)
)
def test_only_all_of_the_tokens_write_a_text(pieces, text):
    """Whatever stands elsewhere among the tokens: they are the whole text or it is refused."""
    try:
        found = within_text(steps(*pieces), text)
    except Unusable:
        assert not text.strip() or b"".join(pieces).strip() != text.strip().encode()
    else:
        assert b"".join(pieces).strip() == text.strip().encode()
        assert found == steps(*pieces)[len(pieces) - len(found) :] or not pieces[-1].strip()


def test_an_answer_behind_a_reasoning_part_gets_its_own_tokens():
    """The answer's text stands in the reasoning, too, where other distributions hold."""
    thought = [b"42", b" is", b" 6", b"*7", b"."]
    answer = [Step(b"42", ((b"42", -0.001),)), *steps("<|im_end|>")]
    for closing in ([b"</think>"], [b"</", b"think", b">\n\n"], ["<|end|>", "<|message|>"]):
        found = within_text([*steps(*thought, *closing), *answer], "42")
        assert found == answer
    hidden = [*steps(*thought, b"\n"), *answer]
    assert within_text(hidden, "42", before="42 is 6*7.") == answer
    assert within_text(answer, "42", before="42 is 6*7.") == answer
    for before in ("", "42 is 6*8.", "42"):
        with pytest.raises(Unusable, match=r"more than the text|go on behind"):
            within_text(hidden, "42", before=before)
    with pytest.raises(Unusable):
        within_text([*steps(*thought, b"</think>", b"4"), *answer], "42")


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


def test_rounded_log_probabilities_are_scaled():
    """To two decimals, as some servers write them: 0.6 and 0.4 become 0.6005 and 0.4025."""
    step = Step(b"a", ((b"a", -0.51), (b"b", -0.91)))
    seen = SeenTokens.of(pieces_in([step]))
    found = seen.distributions([step], 2, rounding_nats=5e-3).steps
    np.testing.assert_allclose(np.exp(found.logprobs[0]), [0.5987, 0.4013], atol=1e-4)
    with pytest.raises(Unusable, match="more than 1"):
        seen.distributions([step], 2)


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
