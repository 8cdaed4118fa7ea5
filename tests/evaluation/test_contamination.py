"""Overlaps of test and training sets: worked by hand, by brute force, and the known real ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.data.records import read_records
from tlm_jax.data.words import words_of
from tlm_jax.evaluation.contamination import Overlap, overlaps, question_text

LONG = "A farmer has twelve hens and each of them lays one egg on every day of the week"


def test_words_survive_changes_of_writing():
    assert words_of("“Don’t”  STOP—now_ok\n½!") == ["don", "t", "stop", "now", "ok", "1", "2"]
    assert words_of("?! ...") == []


def test_same_question_written_otherwise():
    assert overlaps(["How many,  eggs?"], ["x", "how many eggs", "How many eggs"]) == [
        Overlap(0, 1, "same", "how many eggs")
    ]


def test_run_of_13_words_and_not_of_12():
    words = LONG.split()
    (found,) = overlaps(["Tom says: " + " ".join(words[:13]) + " so?"], ["", LONG])
    assert (found.test, found.train, found.kind) == (0, 1, "run")
    assert found.words == " ".join(words[:13]).lower()
    assert overlaps(["Tom says: " + " ".join(words[:12]) + " so?"], [LONG]) == []
    assert overlaps(["Tom says: " + " ".join(words[:13])], [LONG], run_words=0) == []


def test_short_question_behind_facts_is_a_part():
    question = "Could an ocelot outrun a kindergartner?"
    test = f"Fact 1: They are fast. Given these facts above, {question.lower()}"
    words = " ".join(words_of(question))
    assert overlaps([test], ["no", question]) == [Overlap(0, 1, "part", words)]
    assert overlaps([question], ["no", test]) == [Overlap(0, 1, "part", words)]
    assert overlaps([test], ["2 They are fast"]) == []  # not whole
    assert overlaps([test], ["They are fast"]) == []  # three words are too few


def test_no_run_crosses_from_one_text_to_the_next():
    words = LONG.split()
    ends = ["so " + " ".join(words[:9]), " ".join(words[9:]) + " then"]
    assert overlaps([LONG], ends) == []
    assert overlaps([], [LONG]) == overlaps([LONG], []) == overlaps(["?!"], ["..."]) == []


_texts = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=6)


@settings(deadline=None)
@given(_texts, _texts, st.integers(1, 4))
def test_equals_brute_force(test, train, length):
    def runs(text):
        words = text.split()
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    expected = {
        i: "same" if question in train else "run"
        for i, question in enumerate(test)
        if question and (question in train or any(runs(question) & runs(t) for t in train))
    }
    found = overlaps(test, train, run_words=length)
    assert {o.test: o.kind for o in found} == expected
    for overlap in found:
        assert overlap.words in train[overlap.train]
        assert overlap.words in test[overlap.test]


@pytest.fixture(scope="module")
def questions(shared_dir):
    def read(name):
        return [r.question for r in read_records(shared_dir / "data" / f"{name}.jsonl.gz")]

    return read


@pytest.mark.parametrize(
    ("test", "train", "same", "known"),
    [
        ("flan_cot_gsm8k_train", "gsm8k_train", 7_473, 7_473),
        ("flan_cot_creak_train", "creak_train", 0, 6_915),
        ("flan_cot_strategyqa_train", "strategyqa_train", 2_061, 2_061),
        ("teacherlm_eval_strategyqa", "strategyqa_train", 0, 202),
        ("teacherlm_eval_strategyqa", "strategyqa_dev", 0, 26),
        ("gsm8k_test", "gsm8k_train", 0, 3),
    ],
)
def test_known_overlaps(questions, test, train, same, known):
    found = overlaps(questions(test), questions(train))
    kinds = [o.kind for o in found]
    assert kinds.count("same") == same
    assert len(found) == known


def test_questions_that_are_the_same_word_for_word_and_nearly(questions):
    test, train = questions("flan_cot_ecqa_train"), questions("commonsenseqa_train")
    known = set(train)
    exact = {i for i, question in enumerate(test) if question in known}
    assert len(exact) == 5_699
    same = {o.test for o in overlaps(test, train) if o.kind == "same"}
    assert exact < same
    assert len(same) == 6_318  # spaces, case and marks apart


def test_questions_are_the_same_by_their_options_in_any_order():
    question = "Which sentence makes no sense?"
    trained = [question_text(question, ("he ate a shoe", "he ate rice"))]
    tested = [
        question_text(question, ("he ate rice.", "He ate a shoe.")),
        question_text(question, ("dogs fly", "dogs bark")),
    ]
    assert [(one.test, one.kind) for one in overlaps(tested, trained)] == [(0, "same")]
