"""Official files of AQuA, BIG-Bench Hard, FLAN and TeacherLM, in small."""

import dataclasses
import json

import pytest

from tlm_jax.data.official.collections import (
    read_aqua,
    read_arrow,
    read_bbh,
    read_bbh_prompts,
    read_flan,
    split_options,
)
from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.errors import UserError


def test_aqua(tmp_path):
    row = {
        "question": "q?",
        "options": ["A)21", "B)21.5", "C) 22"],
        "rationale": "r",
        "correct": "C",
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(row))
    (record,) = read_aqua(path, "train")
    assert (record.options, record.answer, record.rationale) == (("21", "21.5", "22"), "C", "r")
    path.write_text(json.dumps({**row, "correct": "E"}))
    with pytest.raises(UserError, match=r"train.json:1: .*a letter from A to C, got 'E'"):
        list(read_aqua(path, "train"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aqua", "choice"),
        ("creak", "boolean"),
        ("ecqa", "choice"),
        ("gsm8k", "numeric"),
        ("qasc", "choice"),
        ("sensemaking", "choice"),
        ("strategyqa", "boolean"),
    ],
)
def test_flan_tables_equal_the_uniform_records(tmp_path, shared_dir, name, kind):
    uniform = list(read_records(shared_dir / f"data/flan_cot_{name}_train.jsonl.gz"))[:300]
    cells = [(r.meta["flan_question"], r.meta["flan_answer"], r.rationale) for r in uniform]
    path = tmp_path / f"{name}_train.tsv"
    path.write_text("\n".join("\t".join(c.replace("\n", "\\n") for c in row) for row in cells))
    records = list(read_flan(path, name, kind))
    for mine, theirs in zip(records, uniform, strict=True):
        # The uniform records keep spaces at the ends of options.
        options = theirs.options and tuple(option.strip() for option in theirs.options)
        assert mine == dataclasses.replace(theirs, options=options)


def test_flan_rows_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("q\ta\tr\nq\ta\n")
    with pytest.raises(UserError, match=r"x.tsv:1: the answer 'a' is none of the options None"):
        list(read_flan(path, "x", "choice"))
    path.write_text("q\t3\tr\nq\t3\n")
    with pytest.raises(UserError, match=r"x.tsv:2: expected 3 cells divided by tabs, got 2"):
        list(read_flan(path, "x", "numeric"))
    path.write_text("q\tthree\tr\n")
    with pytest.raises(UserError, match=r"x.tsv:1: expected a number as the answer, got 'three'"):
        list(read_flan(path, "x", "numeric"))


def test_options_are_split_off_whatever_their_marks():
    assert split_options("q\nOptions:\n(A) x\n(B) y") == ("q", ("x", "y"))
    assert split_options("q\nOptions:\n- (A) x\n- y - z") == ("q", ("x", "y - z"))
    assert split_options("q: Options: none") == ("q: Options: none", None)


def test_bbh_as_a_folder(tmp_path):
    task = {"canary": "c", "examples": [{"input": "not True is", "target": "False"}]}
    (tmp_path / "boolean.json").write_text(json.dumps(task))
    (record,) = read_bbh(tmp_path, "test")
    assert (record.id, record.answer, record.kind) == ("bbh-boolean-0", "False", "text")
    assert record.meta == {"task": "boolean", "canary": "c"}
    (tmp_path / "boolean.json").write_text(json.dumps({"examples": [{"input": "x"}]}))
    with pytest.raises(UserError, match="example 0: the field 'target' is missing"):
        list(read_bbh(tmp_path, "test"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no \*.json files in this folder"):
        list(read_bbh(tmp_path / "empty", "test"))


def test_bbh_prompts_lose_their_canary_and_nothing_else(tmp_path, shared_dir):
    rows = [row for _, row in read_json_lines(shared_dir / "data/bbh_cot_prompts.jsonl.gz")]
    for row in rows:
        (tmp_path / f"{row['task']}.txt").write_text(row["text"])
    from_folder = read_bbh_prompts(tmp_path)
    assert from_folder == read_bbh_prompts(shared_dir / "data/bbh_cot_prompts.jsonl.gz")
    assert len(from_folder) == 27
    for row in rows:
        assert "canary" not in from_folder[row["task"]].lower()
        assert row["text"].strip("\n").endswith(from_folder[row["task"]])
    (tmp_path / "snarks.txt").write_text("no canary")
    with pytest.raises(UserError, match="the prompt of 'snarks' does not begin with the canary"):
        read_bbh_prompts(tmp_path)


def test_teacher_lms_arrow_folders(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    ipc = pytest.importorskip("pyarrow.ipc")

    def save(name, rows):
        (tmp_path / name).mkdir()
        rows_table = pyarrow.Table.from_pylist(rows)
        with (
            pyarrow.OSFile(str(tmp_path / name / "dataset.arrow"), "wb") as sink,
            ipc.new_stream(sink, rows_table.schema) as writer,
        ):
            writer.write_table(rows_table)
        return tmp_path / name

    ecqa = save(
        "ecqa",
        [
            {
                "q_no": "id1",
                "question": "Q: Who (so)? (A) a b (B) c",
                "answer": "(B)",
                "analysis": "why",
                "q_concept": "k",
            }
        ],
    )
    (record,) = read_arrow(ecqa, "test", "ecqa")
    assert (record.id, record.question, record.options, record.answer, record.rationale) == (
        "id1",
        "Who (so)?",
        ("a b", "c"),
        "B",
        "why",
    )
    assert record.meta["eval_question"] == "Q: Who (so)? (A) a b (B) c"
    creak = save(
        "creak", [{"ex_id": "d0", "question": "True? (A) True (B) False", "answer": "False"}]
    )
    assert [r.answer for r in read_arrow(creak, "test", "creak")] == ["B"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no \*.arrow files"):
        list(read_arrow(tmp_path / "none", "test", "x"))
