"""Demonstrations."""

from collections import Counter

import pytest

from tlm_jax.data.demonstrations import (
    DemonstrationPool,
    DemonstrationSettings,
)
from tlm_jax.data.record_sets import GeneratedRecords, LoadedRecords
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError


def record(i, question=None, rationale: str | None = "r", dataset="pool", answer="1"):
    question = f"question {i}" if question is None else question
    return Record(str(i), dataset, "train", "text", question, None, answer, rationale)


def pool_of(records, **settings):
    loaded = LoadedRecords("pool", {"train": lambda _: records})
    return DemonstrationPool(loaded, settings=DemonstrationSettings(**settings))


def test_a_record_is_never_its_own_demonstration_nor_one_that_asks_the_same():
    records = [record(i) for i in range(6)]
    twin = record("twin", question="Question   3")
    pool = pool_of([*records, twin], num=4)
    for asked in records:
        drawn = pool.draw(asked, RunData(), with_rationale=True)
        assert asked.id not in {d.id for d in drawn}
        assert len({d.content_key() for d in drawn}) == 4
    assert "twin" not in {d.id for d in pool.draw(records[3], RunData(), with_rationale=True)}


def test_the_asked_question_is_no_demonstration_in_another_wording_of_its_options():
    def choice(name, question, *options):
        return Record(name, "pool", "train", "choice", question, options, "A", "r")

    asked = choice("asked", "Which makes no sense?", "He ate rice.", "He ate a shoe.")
    turned = choice("turned", "Which makes no sense?", "He ate a shoe.", "He ate rice.")
    bare = choice("bare", "which makes no sense", "he ate rice", "he ate a shoe")
    other = choice("other", "Which makes no sense?", "Dogs fly.", "Dogs bark.")
    pool = pool_of([turned, bare, other], num=1)
    assert [d.id for d in pool.draw(asked, RunData(), with_rationale=True)] == ["other"]


def test_draws_are_uniform_over_the_others_and_a_function_of_seed_and_question():
    records = [record(i) for i in range(10)]
    pool = pool_of(records, num=3)
    counts = Counter(
        d.id
        for i in range(600)
        for d in pool.draw(
            record(f"new{i}", f"other {i}", dataset="x"), RunData(), with_rationale=False
        )
    )
    assert all(abs(counts[r.id] - 180) < 60 for r in records)
    asked = record("asked", "?", dataset="x")
    assert pool.draw(asked, RunData(), with_rationale=True) == pool.draw(
        asked, RunData(), with_rationale=True
    )
    reseeded = pool_of(records, num=3, seed=1)
    draws = [
        (
            pool.draw(r, RunData(), with_rationale=True),
            reseeded.draw(r, RunData(), with_rationale=True),
        )
        for r in records
    ]
    assert any(one != other for one, other in draws)


def test_only_records_with_what_is_needed_are_drawn():
    records = [record(0, rationale=None), record(1, answer=""), record(2), record(3)]
    pool = pool_of(records, num=2)
    asked = record("asked", "?")
    assert {d.id for d in pool.draw(asked, RunData(), with_rationale=True)} == {"2", "3"}
    without = {d.id for _ in range(30) for d in pool.draw(asked, RunData(), with_rationale=False)}
    assert without <= {"0", "2", "3"}


def test_too_small_a_pool_says_how_small():
    pool = pool_of([record(0), record(1)], num=2)
    with pytest.raises(UserError, match=r"too few records with a rationale for 2 .* \(1 usable"):
        pool.draw(record(0), RunData(), with_rationale=True)


def test_demonstrations_can_be_named_and_stay_in_order():
    pool = pool_of([record(i) for i in range(5)], ids=("3", "1"))
    assert [d.id for d in pool.draw(record(0), RunData(), with_rationale=True)] == ["3", "1"]
    missing = pool_of([record(0)], ids=("9",))
    with pytest.raises(UserError, match="no record '9' in the train split"):
        missing.draw(record(1), RunData(), with_rationale=True)


def test_an_endless_pool_needs_no_scan():
    endless = GeneratedRecords("endless", ("train",), lambda split, i: record(i))
    pool = DemonstrationPool(endless, settings=DemonstrationSettings(num=4))
    assert len({d.id for d in pool.draw(record(0), RunData(), with_rationale=True)}) == 4
    named = DemonstrationPool(endless, settings=DemonstrationSettings(ids=("1",)))
    with pytest.raises(UserError, match="endless"):
        named.draw(record(0), RunData(), with_rationale=True)


def test_a_run_sets_number_seed_and_pool(tmp_path):
    pool = DemonstrationPool(
        LoadedRecords("pool", {"train": lambda _: [record(i) for i in range(9)]})
    )
    asked = record("asked", "?")
    assert len(pool.draw(asked, RunData(), with_rationale=True)) == 4
    two = RunData(demonstrations=DemonstrationSettings(num=2))
    assert len(pool.draw(asked, two, with_rationale=True)) == 2
    path = tmp_path / "mine.jsonl"
    write_records(path, [record(i, f"mine {i}", dataset="mine") for i in range(3)])
    mine = RunData(demonstrations=DemonstrationSettings(num=3, pool_file=str(path)))
    assert {d.dataset for d in pool.draw(asked, mine, with_rationale=True)} == {"mine"}
