"""Addition and STaR's scratchpad."""

import itertools

import pytest

from tlm_jax.data.generators.addition import Addition, addition, scratchpad
from tlm_jax.data.generators.draws import SPLITS, split_of
from tlm_jax.errors import UserError


def test_scratchpad_has_the_bytes_of_the_published_example():
    assert scratchpad(624, 259) == (
        "<scratch>\n"
        "6 2 4 + 2 5 9 , C: 0\n"
        "2 + 5 , 3 C: 1\n"
        "6 + 2 , 8 3 C: 0\n"
        ", 8 8 3 C: 0\n"
        "0 8 8 3\n"
        "</scratch>"
    )


def test_one_digit_sums_have_no_inner_line():
    assert scratchpad(3, 9) == "<scratch>\n3 + 9 , C: 0\n, 2 C: 1\n1 2\n</scratch>"
    assert scratchpad(1, 2) == "<scratch>\n1 + 2 , C: 0\n, 3 C: 0\n0 3\n</scratch>"


def test_scratchpad_refuses_numbers_of_different_length():
    with pytest.raises(UserError, match="10 and 9 do not have the same number of digits"):
        scratchpad(10, 9)


@pytest.mark.parametrize("split", SPLITS)
def test_every_sum_is_right_and_every_scratchpad_ends_in_it(split):
    for index in range(100):
        record = addition(Addition(max_digits=6), split, index)
        first, second = (int(n.replace(" ", "")) for n in record.question.split(" + "))
        total = int(record.answer.replace(" ", ""))
        assert first + second == total
        *_, last, end = record.rationale.split("\n")
        assert end == "</scratch>"
        assert int(last.replace(" ", "")) == total
        assert len(str(first)) == len(str(second)) == record.meta["num_digits"]


def test_no_pair_is_in_two_splits_in_either_order():
    pairs = {}
    for split in SPLITS:
        records = (
            addition(Addition(seed=s, max_digits=2), split, i) for s in (0, 1) for i in range(250)
        )
        pairs[split] = {tuple(sorted(r.question.split(" + "))) for r in records}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not pairs[one] & pairs[other]
        assert pairs[one]


def test_every_split_has_sums_of_one_digit():
    pairs = [(a, b) for a in range(1, 10) for b in range(a, 10)]
    assert {split_of(("addition", a, b)) for a, b in pairs} == set(SPLITS)


def test_same_index_same_sum_and_seeds_differ():
    assert addition(Addition(), "train", 7) == addition(Addition(), "train", 7)
    assert addition(Addition(), "train", 7) != addition(Addition(seed=1), "train", 7)


def test_bad_settings_and_splits_are_named():
    with pytest.raises(UserError, match="min_digits=3, max_digits=2"):
        Addition(min_digits=3, max_digits=2)
    with pytest.raises(UserError, match="train, validation, test, not 'ood'"):
        addition(Addition(), "ood", 0)
