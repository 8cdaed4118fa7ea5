"""A run is read from whatever its directory holds, whole or not."""

import json

import pytest

from tlm_jax.evaluation.intervals import wilson
from tlm_jax.reports.run_record import read_run


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def prediction(correct):
    return {"id": "a", "prediction": "7", "extracted": "7", "gold": "7", "correct": correct}


def test_everything(tmp_path):
    write_lines(
        tmp_path / "metrics.jsonl",
        [
            {"step": 10, "split": "train", "loss": 2.0, "note": "text", "flag": True},
            {"step": 15, "split": "non_finite", "loss": None},
            {"step": 20, "split": "train", "loss": None},
            {
                "step": 10,
                "split": "eval/b",
                "accuracy": 0.25,
                "accuracy_low": 0.1,
                "accuracy_high": 0.5,
                "nll_nats": 1.5,
            },
        ],
    )
    write_lines(tmp_path / "eval" / "b" / "step_20.jsonl", [prediction(c) for c in (True, False)])
    write_lines(tmp_path / "eval" / "a" / "step_9.jsonl", [prediction(True)])
    write_lines(tmp_path / "eval" / "a" / "step_10.jsonl", [prediction(None)])
    (tmp_path / "config.gin").write_text("BATCH_SIZE = 8\n")
    run = read_run(tmp_path)
    assert run.name == tmp_path.name
    assert run.train == {"loss": [(10, 2.0), (20, None)]}
    assert run.skipped_steps == [15]
    assert run.configuration == "BATCH_SIZE = 8\n"
    assert run.model_info is None
    a, b = run.tasks
    assert (a.name, a.step, [x.step for x in a.accuracies]) == ("a", 10, [9])
    recorded, counted = b.accuracies
    assert (recorded.step, recorded.share, recorded.interval) == (10, 0.25, (0.1, 0.5))
    assert recorded.graded is None
    assert (counted.step, counted.share, counted.correct, counted.graded) == (20, 0.5, 1, 2)
    assert counted.interval == wilson(1, 2)
    assert b.metrics["nll_nats"] == [(10, 1.5)]
    assert len(b.predictions) == 2


def test_an_empty_directory(tmp_path):
    run = read_run(tmp_path)
    assert (run.train, run.tasks, run.configuration) == ({}, [], None)


def test_broken_lines_and_foreign_files_are_passed_over(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "split": "train", "loss": 1.0}\n[1]\nnot json\n{"split": "train"}\n{"step": 2'
    )
    folder = tmp_path / "eval" / "task"
    folder.mkdir(parents=True)
    (folder / "step_5.jsonl").write_bytes(
        json.dumps(prediction(True)).encode() + b'\n"text"\n\xff\xfe\n{"id": "cut'
    )
    (folder / "step_x.jsonl").write_text("{}")
    (folder / ".step_6.jsonl.123").write_text("{}")
    run = read_run(tmp_path)
    assert run.train == {"loss": [(1, 1.0)]}
    (task,) = run.tasks
    assert task.step == 5
    assert len(task.predictions) == 1


@pytest.mark.parametrize("name", ["mix/inner", "task"])
def test_a_task_name_may_have_a_slash(tmp_path, name):
    write_lines(tmp_path / "eval" / name / "step_5.jsonl", [prediction(True)])
    assert [task.name for task in read_run(tmp_path).tasks] == [name]
