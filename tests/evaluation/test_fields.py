"""Dotted names of values in nested objects and lists."""

import pytest

from tlm_jax.errors import UserError
from tlm_jax.evaluation.fields import list_at, value_at, values

ROW = {
    "id": "q1",
    "answer": "4",
    "a.b": "dotted",
    "options": ["x", "y"],
    "meta": {"solutions": [{"text": "s0", "ok": True}, {"text": "s1", "ok": False}]},
    "samples": ["t0", "t1", "t2"],
    "empty": [],
}


def test_values():
    assert list(values(ROW, "answer", "f:1")) == [((), "4")]
    assert list(values(ROW, "a.b", "f:1")) == [((), "dotted")]
    assert list(values(ROW, "meta.solutions.text", "f:1")) == [
        ((("meta.solutions", 0),), "s0"),
        ((("meta.solutions", 1),), "s1"),
    ]
    assert [value for _, value in values(ROW, "samples", "f:1")] == ["t0", "t1", "t2"]
    assert list(values(ROW, "empty", "f:1")) == []


def test_the_value_that_belongs_to_a_place():
    place = (("meta.solutions", 1),)
    assert value_at(ROW, "meta.solutions.ok", place, "f:1") is False
    assert value_at(ROW, "answer", place, "f:1") == "4"
    assert list_at(ROW, "options", place, "f:1") == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("anwser", r"f:1: no field 'anwser'\. Did you mean 'answer'\? Fields: id, answer"),
        ("meta.solution", r"f:1: no field 'solution' in meta\. Did you mean 'solutions'\?"),
        ("answer.text", r"f:1: answer is str, so it has no field 'text'"),
    ],
)
def test_a_wrong_name_is_one_line(name, message):
    with pytest.raises(UserError, match=message):
        list(values(ROW, name, "f:1"))


def test_a_list_that_the_prediction_does_not_go_through():
    with pytest.raises(UserError, match=r"samples is one value for each element of samples, but"):
        value_at(ROW, "samples", (("meta.solutions", 1),), "f:1")
    with pytest.raises(UserError, match=r"empty has no value for the prediction at the top level"):
        value_at(ROW, "empty", (), "f:1")
