"""Runs side by side: figures, paired differences, the page, and what cannot be compared."""

import json
from pathlib import Path

import pytest

from tlm_jax import report
from tlm_jax.errors import UserError
from tlm_jax.reports.comparison import read_comparison
from tlm_jax.reports.comparison_page import lines


def write_run(directory: Path, right: list[bool], nll: float, *, task: str = "sums") -> Path:
    """Writes what a run leaves behind: two evaluations, and predictions for the second."""
    folder = directory / "eval" / task
    folder.mkdir(parents=True)
    rows = []
    for step, share in ((10, 0.1), (20, sum(right) / len(right))):
        rows.append(
            {
                "step": step,
                "split": f"eval/{task}",
                "accuracy": share,
                "accuracy_low": share / 2,
                "accuracy_high": (1 + share) / 2,
                "nll_nats": nll if step == 20 else nll + 1,
            }
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "metrics.jsonl").write_text(lines)
    predictions = [
        {
            "id": f"q{i}",
            "correct": correct,
            "prompt": f"Is\n{i}?",
            "prediction": f"so\n{i}\x1b",
            "gold": str(i),
        }
        for i, correct in enumerate(right)
    ]
    text = "".join(json.dumps(p) + "\n" for p in predictions)
    (folder / "step_20.jsonl").write_text(text)
    return directory


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path / "teacher", [True] * 10, 0.1),
        write_run(tmp_path / "alone", [True] * 4 + [False] * 6, 0.5),
        write_run(tmp_path / "distilled", [True] * 3 + [False] + [True] * 4 + [False] * 2, 0.3),
    ]


def test_differences_are_question_by_question(runs):
    (task,) = read_comparison(runs)
    assert [r.accuracy.share for r in task.results] == [1.0, 0.4, 0.7]
    assert [r.final_nll_nats for r in task.results] == [0.1, 0.5, 0.3]
    compared = task.against(1, 2)
    assert (compared.questions, compared.fixed, compared.broken) == (10, 4, 1)
    assert compared.difference == pytest.approx(0.3)
    assert compared.p_value == pytest.approx(2 * 6 / 32)  # 1 or fewer of 5, two-sided


def test_the_terminal_shows_every_run_and_both_differences(runs):
    (task,) = read_comparison(runs, ["a", "b", "c"])
    shown = lines(task)
    assert shown[0] == "sums, held out"
    assert shown[1].count("█") == 40
    assert shown[2].count("█") == 16
    assert "70.0% (39.7% to 89.2%)  NLL 0.3000 nats" in shown[3]
    assert shown[-1].startswith("  c against b: +30.0 points")


def test_formats_of_one_data_set_are_compared_by_their_questions(tmp_path):
    runs = [
        write_run(tmp_path / "answers", [True, False], 0.1, task="sums_answer_zero_shot"),
        write_run(tmp_path / "solutions", [True, True], 0.5, task="sums_cot_zero_shot"),
        write_run(tmp_path / "distilled", [True, True], 0.3, task="sums_cot_zero_shot"),
    ]
    (task,) = read_comparison(runs)
    assert task.task == "sums"
    compared = task.against(0, 2)
    assert (compared.questions, compared.fixed, compared.broken) == (2, 1, 0)
    # A token of an answer and one of a rationale cost what cannot be compared.
    assert [r.final_nll_nats for r in task.results] == [None, 0.5, 0.3]


def test_newly_solved_questions_are_shown_as_text(runs, capsys):
    assert report.main([*map(str, runs[1:]), "--show=2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    start = shown.index("Is")
    assert shown[start : start + 4] == [
        *("Is", "4?", "  alone      wrong  so / 4\\x1b", "  distilled  right  so / 4\\x1b"),
    ]
    assert shown.count("Is") == 2


def test_the_command_writes_one_page(runs, capsys):
    names = [str(run) for run in runs]
    assert report.main([*names, "--names=teacher,student alone,student distilled"]) == 0
    page = runs[-1].parent / "comparison.html"
    assert f"page      {page}" in capsys.readouterr().out
    text = page.read_text()
    assert "student distilled" in text
    assert 'aria-label="Accuracy by step: teacher, student alone, student distilled"' in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_what_cannot_be_compared_is_said(runs, tmp_path):
    other = write_run(tmp_path / "other", [True], 0.1, task="words")
    with pytest.raises(UserError, match=r"no task in common \(teacher: sums; other: words\)"):
        read_comparison([runs[0], other])
    with pytest.raises(UserError, match="nothing holds no evaluations to compare"):
        read_comparison([runs[0], tmp_path / "nothing"])
    with pytest.raises(UserError, match="--names gives 1 names for 2 runs"):
        report.main([str(runs[0]), str(runs[1]), "--names=a"])
