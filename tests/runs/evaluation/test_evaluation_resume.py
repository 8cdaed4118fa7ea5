"""An evaluation that was stopped, by a kill or a full disk, goes on where it was."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.evaluation.outcomes import Question, Sample
from tlm_jax.runs.evaluation import run as evaluation_run

MODES = ["greedy", "rank"]


@pytest.fixture
def asked(monkeypatch):
    """Modes that answer without a model; which were asked is noted."""
    noted = []

    def stub(mode):
        def answer(subject, eval_set, config):
            noted.append(mode)
            questions = [
                Question(
                    name,
                    "2 + 2?",
                    "4",
                    "4",
                    True,
                    (Sample("The answer is 4\u2028<4>", "4", True, finished=False),),
                    {"words": 3, "level": "Level 1"},
                    0.5,
                )
                for name in eval_set.examples.ids[:2]
            ]
            return subject.outcome(eval_set, mode, questions, unreadable=["x"])

        return answer

    monkeypatch.setattr(evaluation_run, "MODES", {mode: stub(mode) for mode in MODES})
    return noted


def test_what_is_there_is_not_asked_again(evaluate, asked, tmp_path, capsys):
    first = evaluate(tmp_path, MODES=["greedy"])
    assert asked == ["greedy"]
    both = evaluate(tmp_path, MODES=MODES)
    assert asked == ["greedy", "rank"]
    assert both["results"][0] == first["results"][0]
    assert "greedy  as before" in capsys.readouterr().out
    assert evaluate(tmp_path, MODES=MODES, EVAL_BATCH_SIZE=4, SHOW_QUESTIONS=1) == both
    assert asked == ["greedy", "rank"]


def test_an_evaluation_killed_between_its_last_outcome_and_its_results_is_finished(
    evaluate, asked, tmp_path
):
    whole = evaluate(tmp_path, MODES=MODES)
    asked.clear()
    written = {}
    for name in ("results.json", "report.html"):
        written[name] = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
    assert evaluate(tmp_path, MODES=MODES) == whole
    assert asked == []
    for name, content in written.items():
        assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"GRADING_RULE": "text"},
        {"TASK_FEATURE_LENGTHS": {"inputs": 25, "targets": 8}},
        {"EVAL_EXAMPLES": 5},
        {"RANK_CONTINUATION": "So {answer}"},
    ],
)
def test_other_settings_are_asked_anew(evaluate, asked, tmp_path, change):
    evaluate(tmp_path, MODES=["greedy"])
    evaluate(tmp_path, MODES=["greedy"], **change)
    assert asked == ["greedy", "greedy"]


@pytest.mark.parametrize("left", ["no counts", "half a line", "garbage"])
def test_what_is_not_whole_is_asked_anew(evaluate, asked, tmp_path, left):
    results = evaluate(tmp_path, MODES=["greedy"])
    path = next(tmp_path.rglob("greedy.jsonl"))
    if left == "no counts":
        path.with_suffix(".json").unlink()
    elif left == "half a line":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.with_suffix(".json").write_bytes(b"\xff[[")
    assert evaluate(tmp_path, MODES=["greedy"]) == results
    assert asked == ["greedy", "greedy"]
    assert len(path.read_text(encoding="utf-8").splitlines()) >= 2


def test_a_full_disk_is_told_and_the_same_command_goes_on(evaluate, asked, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, content):
        if path.name.startswith("rank.jsonl"):
            write(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"rank\.jsonl cannot be written: No space left on device"):
        evaluate(tmp_path, MODES=MODES)
    monkeypatch.setattr(Path, "write_bytes", write)
    assert not list(tmp_path.rglob("*.unfinished"))
    results = evaluate(tmp_path, MODES=MODES)
    assert asked == ["greedy", "rank", "rank"]
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_demonstrations_are_fixed_or_drawn(evaluate, asked, monkeypatch, tmp_path):
    shown = []

    def look(subject, eval_set, config):
        shown.append([record["inputs"] for record in eval_set.examples.records])

    monkeypatch.setattr(evaluation_run, "MODES", {"rank": look})
    settings = {
        "EVAL_TASKS": ["creak_answer_in_context"],
        "MODES": ["rank"],
        "NUM_DEMONSTRATIONS": 1,
        "TASK_FEATURE_LENGTHS": {"inputs": 60, "targets": 8},
    }
    for further in (
        {"DEMONSTRATIONS_IDS": ("creak_train-2",)},
        {"DEMONSTRATIONS_SEED": 0},
        {"DEMONSTRATIONS_SEED": 0},
        {"DEMONSTRATIONS_SEED": 3},
    ):
        with pytest.raises(UserError, match="nothing was asked"):
            evaluate(tmp_path, **settings, **further)
    fixed, drawn, again, other = shown
    assert all(text.startswith("Q: birds can sing\nA: The answer is no\n\n") for text in fixed)
    assert drawn == again
    assert len({text.split("\n")[0] for text in drawn}) > 1
    assert drawn != other


def test_the_middle_of_a_long_array_counts(evaluate, asked, monkeypatch, tmp_path):
    # NumPy writes 5,000 numbers as the first three, dots, and the last three.
    array = np.arange(5_000, dtype=np.int32)
    load = evaluation_run.load_eval_sets

    def with_arrays(*arguments, **settings):
        (found,) = load(*arguments, **settings)
        records = tuple({**record, "steps": array} for record in found.examples.records)
        examples = dataclasses.replace(found.examples, records=records)
        return [dataclasses.replace(found, examples=examples)]

    monkeypatch.setattr(evaluation_run, "load_eval_sets", with_arrays)
    for _ in range(2):
        evaluate(tmp_path, MODES=["greedy"])
    assert asked == ["greedy"]
    array = np.where(array == 2_500, 7, array)
    evaluate(tmp_path, MODES=["greedy"])
    assert asked == ["greedy", "greedy"]
    array = array.astype(np.int64)
    evaluate(tmp_path, MODES=["greedy"])
    assert asked == ["greedy"] * 3
