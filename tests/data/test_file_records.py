"""Record sets from files."""

import pytest

from tlm_jax.data.file_records import file_records, is_held_out, official, uniform
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError


@pytest.fixture
def directory(tmp_path):
    return tmp_path


@pytest.fixture
def data(tmp_path):
    return RunData(tmp_path)


def record(i, question=None):
    return Record(str(i), "d", "train", "text", question or f"question {i}", None, "a")


def read_lines(path, split):
    for i, line in enumerate(path.read_text().splitlines()):
        yield Record(str(i), "d", split, "text", line, None, "a")


def test_nothing_is_read_before_it_is_asked_for_and_then_once(directory, data):
    calls = []

    def counting(path, split):
        calls.append(split)
        return read_lines(path, split)

    records = file_records("d", "o", {"train": official(counting, "train", "x.txt")})
    assert calls == []
    (directory / "x.txt").write_text("one\ntwo\n")
    assert records.num_records("train", data) == 2
    assert records.record("train", 1, data).question == "two"
    assert calls == ["train"]


def test_the_uniform_file_goes_before_the_official_one(directory, data):
    records = file_records(
        "d", "o", {"train": [uniform("d_train"), *official(read_lines, "train", "x.txt")]}
    )
    (directory / "x.txt").write_text("official\n")
    write_records(directory / "d_train.jsonl.gz", [record(0, "uniform")])
    assert records.record("train", 0, data).question == "uniform"


def test_validation_is_held_out_of_training_by_content(directory, data):
    records = file_records("d", "o", {"train": [uniform("d_train")]}, hold_out_validation=True)
    rows = [record(i) for i in range(2000)]
    write_records(directory / "d_train.jsonl", [*rows, record("copy", "QUESTION  7")])
    assert records.splits == ("train", "validation", "train_full")
    train, validation = records.records("train", data), records.records("validation", data)
    assert records.num_records("train_full", data) == len(train) + len(validation) == 2001
    assert 60 < len(validation) < 145
    assert not {r.content_key() for r in train} & {r.content_key() for r in validation}
    assert is_held_out(record(7)) == is_held_out(record("copy", "QUESTION  7"))


def test_absent_files_name_set_split_and_origin(directory, data):
    records = file_records("d", "the project o/p", {"train": [uniform("d_train")]})
    with pytest.raises(UserError, match=r"d, split 'train': no such file .*d_train.jsonl.*o/p"):
        records.num_records("train", data)
