"""MMLU from the official CSV files, with the published prompts in front."""

import csv
import gzip
import json

import pytest
from task_sources import source_of

from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.evaluation.rank_formats import RANK_FORMATS, options_of

ROWS = {
    "anatomy": [
        ["Which bone is\nlongest", "femur", " tibia", "ulna", "rib, the first", "A"],
        ['Is it "red"?', "yes", "no", "both", "neither", "d"],
    ],
    "high_school_physics": [["Force is", "1", "2", "3", "4", "C"]],
}


def write_csv(folder, split, rows_by_subject):
    folder.mkdir(parents=True)
    for subject, rows in rows_by_subject.items():
        with (folder / f"{subject}_{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)


@pytest.fixture
def data(tmp_path):
    write_csv(tmp_path / "mmlu" / "data" / "val", "val", ROWS)
    shots = [[f"{subject} {n}", "a", "b", "c", "d", "B"] for subject in ROWS for n in range(5)]
    dev = {subject: [r for r in shots if r[0].startswith(subject)] for subject in ROWS}
    write_csv(tmp_path / "mmlu" / "data" / "dev", "dev", dev)
    with gzip.open(tmp_path / "mmlu_cot_prompts.jsonl.gz", "wt") as file:
        file.write(json.dumps({"subject": "anatomy", "text": "About anatomy.\n\nQ: x\nA: y "}))
    return RunData(tmp_path)


def test_official_files(data):
    source = source_of("mmlu_answer_zero_shot", data)
    found = [source.example("validation", i) for i in range(source.num_examples("validation"))]
    assert [example["id"] for example in found] == [
        "mmlu-anatomy-val-0",
        "mmlu-anatomy-val-1",
        "mmlu-high_school_physics-val-0",
    ]
    assert [example["answer"] for example in found] == ["A", "D", "C"]
    assert found[0]["inputs"] == (
        "Q: Which bone is\nlongest (A) femur (B) tibia (C) ulna (D) rib, the first A:"
    )
    assert found[0]["targets"] == "The answer is (A)"
    assert json.loads(found[2]["traits_json"])["subject"] == "high_school_physics"
    form = RANK_FORMATS["teacherlm_mmlu"]
    assert form.context_of(found[0], options_of(found[0])) == (
        "The following are multiple choice questions (with answers) about anatomy. "
        "Q: Which bone is longest. (A) femur (B) tibia (C) ulna (D) rib, the first "
        "A: The answer is ("
    )


def test_demonstrations_are_of_the_subject(data):
    def showing(num):
        settings = DemonstrationSettings(num=num)
        run = RunData(data.data_dir, demonstrations=settings)
        return source_of("mmlu_answer_in_context", run)

    source = showing(2)
    shown = source.example("validation", 2)["inputs"]
    assert shown == (
        "Q: high_school_physics 0 (A) a (B) b (C) c (D) d\nA: The answer is (B)\n\n"
        "Q: high_school_physics 1 (A) a (B) b (C) c (D) d\nA: The answer is (B)\n\n"
        "Q: Force is (A) 1 (B) 2 (C) 3 (D) 4\nA:"
    )
    assert "anatomy 0 (A)" not in source.example("dev", 0)["inputs"].split("Q: ")[1]
    with pytest.raises(UserError, match="anatomy has 5 demonstrations, but NUM_DEMONSTRATIONS"):
        showing(9).example("validation", 0)


def test_the_published_prompt(data):
    source = source_of("mmlu_published_prompt", data)
    assert source.example("validation", 0)["inputs"] == (
        "About anatomy.\n\nQ: x\nA: y\n\nQ: Which bone is\nlongest\n(A) femur (B) tibia (C) ulna "
        "(D) rib, the first\nA: Let's think step by step."
    )
    assert source.example("validation", 0)["targets"] == "The answer is (A)."
    with pytest.raises(UserError, match="no published prompt for the subject 'high_school_phys"):
        source.example("validation", 2)


def test_every_subject_has_its_published_prompt(shared_dir):
    from tlm_jax.data.official.mmlu import read_mmlu_prompts

    prompts = read_mmlu_prompts(shared_dir / "data" / "mmlu_cot_prompts.jsonl.gz")
    assert len(prompts) == 57
    for subject, text in prompts.items():
        topic = subject.replace("_", " ")
        assert text.startswith("The following are multiple choice questions (with answers) about")
        assert topic in text.split("\n")[0]
        assert text.count("\nA: Let's think step by step.") >= 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["Q", "a", "b", "c", "A"], "anatomy_test.csv:1: expected question, 4 options and a"),
        (["Q", "a", "b", "c", "d", "E"], "anatomy_test.csv:1: .*a letter from A to D, got 'E'"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, row, message):
    write_csv(tmp_path / "mmlu" / "test", "test", {"anatomy": [row]})
    with pytest.raises(UserError, match=message):
        source_of("mmlu_answer_zero_shot", RunData(tmp_path)).num_examples("test")


def test_it_is_not_for_training(data):
    with pytest.raises(UserError, match="evaluation only"):
        source_of("mmlu_answer_zero_shot", data).num_examples("train")
