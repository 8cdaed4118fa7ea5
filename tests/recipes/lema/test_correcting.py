"""Correctors and what is kept of their answers."""

from __future__ import annotations

import json

import pytest
from little_apples import TRAIN, apples

from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import SAMPLES
from tlm_jax.recipes.lema import correcting, corrections
from tlm_jax.recipes.lema.correctors import File, Oracle, Work
from tlm_jax.recipes.lema.forms import Numbered
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.system.program_cache import ProgramCache

RIGHT = (
    " Step 1.\nExplanation: 2 + 3 is 5.\nCorrect Solution:\n{\nStep 1: It is 2 + 3 = 5.\n"
    "Step 2: The answer is 5.\n}"
)


def chosen(tmp_path, paths, answers, rule=None):
    """Chooses among answers, given as (path's number, text, reason of the end)."""
    samples = tmp_path / "samples.jsonl"
    rows = [
        {"id": paths[n].id, "sample": i, "text": text, "finish_reason": reason}
        for i, (n, text, reason) in enumerate(answers)
    ]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return correcting.choose(tmp_path, samples, paths, Numbered(), rule=rule, num_rated=50, seed=0)


def reasons(tmp_path):
    rows = [row for _, row in read_json_lines(tmp_path / correcting.CORRECTIONS)]
    return [row["reason"] for row in rows]


def test_the_first_right_try_is_kept(tmp_path, wrong_of):
    paths = [wrong_of(apples(2, 3)), wrong_of(apples(1, 1))]
    figures = chosen(
        tmp_path,
        paths,
        [
            (0, "It is all wrong, I fear.", "eos"),
            (0, RIGHT.replace("is 5.\n}", "is 4.\n}"), "eos"),
            (0, RIGHT, "eos"),
            (0, RIGHT, "eos"),
            (0, RIGHT[:-40], "length"),
        ],
    )
    assert reasons(tmp_path) == [
        corrections.PROSE,
        corrections.WRONG_ANSWER,
        None,
        correcting.MORE,
        corrections.CUT_OFF,
        correcting.NOT_TRIED,
    ]
    (kept,) = read_records(tmp_path / correcting.KEPT)
    assert kept.get("incorrect_step") == 1
    assert kept.get("correct_solution") == ["It is 2 + 3 = 5.", "The answer is 5."]
    assert kept.get("prediction") == "5"
    assert kept.get("quality")["first_error"] is True
    assert correcting.correction_of(kept).step == 1
    assert (figures["paths"], figures["tries"], figures["kept"]) == (2, 5, 1)
    assert figures["by_model"] == {"m": {"paths": 2, "kept": 1}}
    (row,) = (row for _, row in read_json_lines(tmp_path / correcting.RATE))
    assert row["rating"] is None
    assert row["calculated"] is True
    first = next(row for _, row in read_json_lines(tmp_path / correcting.CORRECTIONS))
    assert set(first) >= {
        *("id", "path", "incorrect_step", "explanation", "correct_solution", "prediction"),
        *("kept", "reason"),
    }


def test_an_answer_without_a_number(tmp_path, wrong_of):
    paths = [wrong_of(apples(2, 3))]
    with pytest.raises(UserError, match="none of 1 corrections of 1 wrong paths is kept"):
        chosen(tmp_path, paths, [(0, RIGHT.replace("is 5.\n}", "is five.\n}"), "eos")])
    assert reasons(tmp_path) == [corrections.NO_ANSWER]


def test_a_corrector_that_repeats_the_original(tmp_path, wrong_of):
    path = wrong_of(apples(2, 3))
    text = RIGHT.replace("3 = 5", "3 = 6").replace("answer is 5", "answer is 6")
    with pytest.raises(UserError, match=f"1 {corrections.REPEATS}"):
        chosen(tmp_path, [path], [(0, text, "eos")])


def work(paths) -> Work:
    form = Numbered(cot_form="cot_zero_shot", instruction="")
    return Work(paths, form, RunData(), "", MeshShape(), ProgramCache())


def test_the_oracle_corrects_all(tmp_path, wrong_of):
    paths = [wrong_of(record) for record in TRAIN]
    Oracle().write(tmp_path / "correct", work(paths))
    figures = correcting.choose(
        tmp_path, tmp_path / "correct" / SAMPLES, paths, Numbered(), rule=None, num_rated=3, seed=0
    )
    assert figures["kept"] == len(TRAIN)
    assert figures["quality"] == {
        "first_error": 1.0, "about_step": 1.0, "calculated": 1.0, "follows": 1.0,
    }  # fmt: skip


def test_the_oracle_knows_word_problems_alone(tmp_path, wrong_of):
    path = wrong_of(apples(2, 3))
    other = path.__class__(
        "g/m/0", "gsm8k", "train", "numeric", "How many?", None, "4"
    ).with_generated(path=["2 + 1 = 3", "The answer is 3."])
    with pytest.raises(UserError, match="'g/m/0' is of no embedded word problem") as caught:
        Oracle().write(tmp_path, work([other]))
    assert "set CORRECTOR to @correctors.Model()" in str(caught.value)


def test_a_file_of_corrections(tmp_path, lines, wrong_of):
    path = wrong_of(apples(2, 3))
    file = lines(
        "answers.jsonl",
        [
            {"id": path.id, "text": RIGHT},
            {"question": path.question, "path": path.get("path"), "text": RIGHT},
            {"id": "of another run", "text": RIGHT},
        ],
    )
    File(str(file)).write(tmp_path / "correct", work([path]))
    rows = [row for _, row in read_json_lines(tmp_path / "correct" / SAMPLES)]
    assert [(row["id"], row["sample"]) for row in rows] == [(path.id, 0), (path.id, 1)]
    assert [row["text"] for row in rows] == [RIGHT, RIGHT]


def test_a_file_about_something_else(tmp_path, lines, wrong_of):
    paths = [wrong_of(apples(2, 3))]
    with pytest.raises(UserError, match="no row is about any of the 1 wrong paths"):
        File(str(lines("a.jsonl", [{"id": "x", "text": "y"}]))).write(tmp_path, work(paths))
    with pytest.raises(UserError, match=r"b\.jsonl:1: expected the corrector's answer as `text`"):
        File(str(lines("b.jsonl", [{"id": "x"}]))).write(tmp_path, work(paths))
