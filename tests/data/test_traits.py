"""What makes a question hard is read from the record that each data set gives."""

import pytest

from tlm_jax.data.records import Record
from tlm_jax.data.traits import traits


def record(question="How many?", rationale=None, options=None, kind="numeric", **meta):
    answer = "A" if kind == "choice" else "1"
    return Record("0", "d", "test", kind, question, options, answer, rationale, meta)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (record(), {"words": 2}),
        (record(rationale="Two lines.\n\n1 + 1 = <<1+1=2>>2"), {"steps": 2, "operations": 1}),
        (record(rationale="First. Then 1.5 more! So"), {"steps": 3}),
        (record(rationale="no end"), {"steps": 1}),
        (record(rationale="a. b.", num_steps=5), {"steps": 5}),
        (record(rationale="a. b.", decomposition=["x", "y", "z"]), {"steps": 3}),
        (record(equation="( 76.0 - 25.0 )"), {"operations": 1}),
        (record(equations=["X=((32.0+42.0)-35.0)"]), {"operations": 2}),
        (record(formula="-3+10=7"), {"operations": 1}),
        (record(level="Level 3", subject="Algebra", grade=""), {"level": "Level 3"}),
        (record(kind="choice", options=("a b", "c")), {"words": 7, "options": 2}),
    ],
)
def test_traits(made, expected):
    found = traits(made)
    assert {name: found.get(name) for name in expected} == expected
    assert "grade" not in found


def test_what_is_not_known_is_left_out():
    assert set(traits(record())) == {"words"}


def test_published_files_tell_steps_levels_and_operations(shared_dir):
    from tlm_jax.data.records import read_records

    def first(name):
        return traits(next(read_records(shared_dir / "data" / f"{name}.jsonl.gz")))

    assert first("gsm8k_test") == {"words": 52, "steps": 2, "operations": 2}
    assert first("math_test") == {"words": 10, "steps": 3, "level": "Level 3", "subject": "Algebra"}
    assert first("svamp")["operations"] == 1
    assert first("multiarith")["operations"] == 2
    assert first("asdiv")["grade"] == "1"
    assert first("strategyqa_dev")["steps"] == 5
    assert first("bbh")["task"] == "boolean_expressions"
