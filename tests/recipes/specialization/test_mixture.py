"""The order of rows: epochs, formats, batches and micro-batches, as settings and as published."""

from __future__ import annotations

from collections import Counter

import pytest

from tlm_jax.errors import UserError
from tlm_jax.recipes.specialization.mixture import Mixing, RowOrder

SIZES = {"cot_zero_shot": 24, "answer_zero_shot": 10}


def order(mixture=("cot_zero_shot", "answer_zero_shot"), sizes=None, batch=4, micro=2, **mixing):
    seed = mixing.pop("seed", 0)
    return RowOrder(
        mixture,
        sizes or SIZES,
        Mixing(**mixing),
        batch_size=batch,
        micro_batches=micro,
        seed=seed,
    )


def places(made: RowOrder, count: int, start: int = 0):
    return [made.place(position) for position in range(start, start + count)]


def micro_batches(made: RowOrder, batches: int, batch=4, micro=2, first=0):
    """Returns the rows of each micro-batch, as the train step cuts a batch."""
    found = []
    for number in range(first, first + batches):
        rows = places(made, batch, number * batch)
        found += [rows[part::micro] for part in range(micro)]
    return found


def test_each_row_comes_once_an_epoch_and_in_another_order_each_time():
    made = order(("cot_zero_shot",))
    first, second = places(made, 24), places(made, 24, 24)
    assert sorted(p.row for p in first) == sorted(p.row for p in second) == list(range(24))
    assert [p.row for p in first] != [p.row for p in second]
    assert {p.epoch for p in first} == {0}
    assert {p.epoch for p in second} == {1}


def test_without_rates_formats_are_as_frequent_as_they_have_rows():
    made = order()
    for epoch in range(3):
        found = places(made, 34, 34 * epoch)
        assert Counter(p.form for p in found) == SIZES
        assert len(set(found)) == 34
        assert {p.epoch for p in found} == {epoch}


def test_rates_decide_shares():
    counts = Counter(
        p.form for p in places(order({"cot_zero_shot": 1.0, "answer_zero_shot": 3.0}), 640)
    )
    assert counts == {"cot_zero_shot": 160, "answer_zero_shot": 480}
    forms = [
        {p.form for p in part}
        for part in micro_batches(
            order({"cot_zero_shot": 1.0, "answer_zero_shot": 1.0}, one_format=True), 32
        )
    ]
    assert all(len(found) == 1 for found in forms)
    assert Counter(next(iter(found)) for found in forms) == dict.fromkeys(SIZES, 32)


def test_a_place_is_the_same_whatever_was_read_before():
    made = order()
    late = made.place(9000)
    assert late == order().place(9000)
    assert order(seed=1).place(9000) != late or order(seed=1).place(9001) != made.place(9001)


def test_one_format_a_micro_batch():
    made = order(one_format=True)
    forms = [{p.form for p in part} for part in micro_batches(made, 40)]
    assert all(len(found) == 1 for found in forms)
    assert {next(iter(found)) for found in forms} == set(SIZES)
    # Ten rows in micro-batches of two: an epoch of the format is five of them, each row once.
    answers = [p for part in micro_batches(made, 200) for p in part if p.form == "answer_zero_shot"]
    for epoch in range(3):
        rows = [p.row for p in answers if p.epoch == epoch]
        assert sorted(rows) == list(range(10))
    assert [p.row for p in answers if p.epoch == 0] != [p.row for p in answers if p.epoch == 1]


def test_same_question_keeps_consecutive_rows_together_in_one_order_for_all_epochs():
    made = order(batches="same_question")
    # 24 rows are 6 batches; 10 are 2, and the 2 rows left over never come.
    an_epoch = 8 * 4
    first, second = places(made, an_epoch), places(made, an_epoch, an_epoch)
    assert [p[:2] for p in first] == [p[:2] for p in second]
    assert {p.epoch for p in second} == {1}
    counts = Counter(p[:2] for p in first)
    assert set(counts.values()) == {1}
    assert Counter(p.form for p in first) == {"cot_zero_shot": 24, "answer_zero_shot": 8}
    for number in range(8):
        batch = first[number * 4 : number * 4 + 4]
        assert len({p.form for p in batch}) == 1
        start = min(p.row for p in batch)
        assert start % 4 == 0
        # The first micro-batch has the first rows.
        parts = [[p.row for p in batch[part::2]] for part in range(2)]
        assert parts == [[start, start + 1], [start + 2, start + 3]]
    starts = [min(p.row for p in first[n * 4 : n * 4 + 4]) for n in range(8)]
    assert starts != sorted(starts)


def test_fully_random_shuffles_micro_batches_of_consecutive_rows():
    made = order(batches="fully_random")
    parts = micro_batches(made, 8)
    assert [[p[:2] for p in part] for part in parts] == [
        [p[:2] for p in part] for part in micro_batches(made, 8, first=8)
    ]
    for part in parts:
        assert len({p.form for p in part}) == 1
        assert part[1].row == part[0].row + 1
        assert part[0].row % 2 == 0
    assert len({(p.form, p.row) for part in parts for p in part}) == 32
    together = [
        {parts[n][0].row // 4, parts[n + 1][0].row // 4}
        for n in range(0, 16, 2)
        if parts[n][0].form == parts[n + 1][0].form
    ]
    assert any(len(found) > 1 for found in together)


def test_the_official_orders_have_no_seed():
    one, other = order(batches="same_question", seed=0), order(batches="same_question", seed=5)
    assert places(one, 40) == places(other, 40)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizes": {**SIZES, "answer_zero_shot": 1}, "one_format": True}, "has 1 rows, fewer than"),
        (
            {"sizes": {**SIZES, "answer_zero_shot": 3}, "batches": "same_question"},
            "answer_zero_shot has 3 rows, fewer than the 4 of a batch: lower BATCH_SIZE to at most",
        ),
        (
            {"sizes": {**SIZES, "cot_zero_shot": 0}},
            "cot_zero_shot has 0 rows.*the teacher has solved none",
        ),
    ],
)
def test_too_few_rows_are_told(fields, message):
    with pytest.raises(UserError, match=message):
        order(**fields)


@pytest.mark.parametrize(
    ("mixing", "mixture", "message"),
    [
        ({"batches": "sorted"}, ["cot_zero_shot"], "BATCHES is 'sorted', expected one of random"),
        ({"demonstrations": "none"}, ["cot_zero_shot"], "DEMONSTRATIONS is 'none', expected"),
        ({"all_samples": ["cot"]}, ["cot_zero_shot"], "Unknown format 'cot'"),
        ({}, ["cot_zeroshot"], "Unknown format 'cot_zeroshot'"),
        ({}, [], "holds no formats"),
        ({}, {"cot_zero_shot": 0.0}, "gives cot_zero_shot the rate 0.0, expected above 0"),
        (
            {"batches": "fully_random"},
            {"cot_zero_shot": 1.0},
            "where rates play no part: give MIXTURES lists",
        ),
    ],
)
def test_settings_that_cannot_be(mixing, mixture, message):
    with pytest.raises(UserError, match=message):
        Mixing(**mixing).check(mixture)
