"""The tasks that read whatever file of records a run names."""

import json

import pytest
from task_sources import source_of

from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError

RECORD = {
    "dataset": "mine",
    "split": "train",
    "kind": "numeric",
    "options": None,
    "answer": "4",
    "rationale": "2 + 2 = 4",
}


@pytest.fixture
def examples_file(tmp_path):
    rows = [{**RECORD, "id": f"r{i}", "question": f"Question {i}?"} for i in range(200)]
    rows[0]["targets"] = "Two and two.\nThe answer is: 4"
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(name, split, path):
    source = source_of(name, RunData(examples_file=path))
    return [source.example(split, i) for i in range(source.num_examples(split))]


def test_splits_divide_the_file_by_question(examples_file):
    train, validation = (
        read("examples_cot_zero_shot", s, examples_file) for s in ("train", "validation")
    )
    everything = read("examples_cot_zero_shot", "all", examples_file)
    assert len(everything) == 200
    assert 0 < len(validation) < 30
    ids = {e["id"] for e in train} | {e["id"] for e in validation}
    assert len(train) + len(validation) == len(ids) == 200


def test_a_teachers_own_wording_is_kept(examples_file):
    first, second = read("examples_cot_zero_shot", "all", examples_file)[:2]
    assert first["targets"] == "Two and two.\nThe answer is: 4"
    assert second["targets"] == "2 + 2 = 4\nThe answer is 4"
    assert (
        read("examples_answer_zero_shot", "all", examples_file)[0]["targets"] == "The answer is 4"
    )


def test_another_file_is_read_anew(examples_file, tmp_path):
    assert len(read("examples_cot_zero_shot", "all", examples_file)) == 200
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({**RECORD, "id": "x", "question": "Q"}) + "\n")
    assert len(read("examples_cot_zero_shot", "all", other)) == 1


def test_without_a_file_the_remedy_is_said():
    with pytest.raises(UserError, match="none is named: set EXAMPLES_FILE"):
        read("examples_cot_zero_shot", "all", None)
