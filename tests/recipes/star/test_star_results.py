"""The best loop, the plateau, guessing, and what the page shows, by figures written by hand."""

from __future__ import annotations

import json

import pytest

from tlm_jax.data.records import Record
from tlm_jax.evaluation.intervals import wilson
from tlm_jax.recipes.asking import by_chance, counted
from tlm_jax.recipes.done import Done
from tlm_jax.recipes.stages import Stages
from tlm_jax.recipes.star import results as module
from tlm_jax.recipes.star.config import Plateau
from tlm_jax.recipes.star.results import Loop, Results

SELECTION = {
    "attempts": 40,
    "right": 11,
    "unparsable": 3,
    "kept": 10,
    "hinted_attempts": 29,
    "hinted_right": 6,
    "hinted_unparsable": 1,
    "hinted_kept": 5,
    "examples": 15,
    "distinct_paths": 14,
    "hint_leaks": 0,
    "left_out": {"wrong": 50, "same equations": 2},
}


def choice(number: int) -> Record:
    options = tuple(f"thing {letter}" for letter in "ABCDE")
    return Record(f"c{number}", "choices", "dev", "choice", f"Which is {number}?", options, "A")


@pytest.fixture
def collect(star, monkeypatch, tmp_path):
    """Returns what adds loops with given accuracies of 100 questions to an arm."""
    monkeypatch.setattr(module, "fingerprint", lambda _: "0123456789abcdef")

    def done(name: str, figures, **wrote) -> Done:
        folder = tmp_path / "out" / name
        (folder / "samples").mkdir(parents=True)
        rows = [
            {
                "id": f"q{right}",
                "prompt": f"Q: asked {right}?",
                "text": f" answered {right}",
                "correct": right,
                "extracted": "1",
                "finish_reason": "eos",
                "gold": "1",
            }
            for right in (True, False)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "samples/samples.jsonl").write_text(lines)
        return Done(name, "other", folder, figures, 60.0, 1, 0, {}, wrote)

    def evaluated(right: int, chance: float | None):
        low, high = wilson(right, 100)
        figures = {"accuracy": right / 100, "accuracy_low": low, "accuracy_high": high}
        return figures if chance is None else figures | {"chance": chance}

    def run(*accuracies: int, chance: float | None = None, **plateau):
        method = star(plateau=Plateau(**plateau))
        with Stages(str(tmp_path / "out")) as stages:
            results = Results(method.config, stages)
            before = done("loop-00/evaluate", evaluated(accuracies[0], chance))
            results.begin(0, "rationalization", tmp_path / "start", before)
            for number, right in enumerate(accuracies[1:], start=1):
                name = f"loop-{number:02d}"
                results.add(
                    Loop(
                        number,
                        {},
                        done(f"{name}/generate", {"samples": 40, "tokens": 90}),
                        done(f"{name}/rationalize", {}),
                        done(f"{name}/select", SELECTION),
                        done(f"{name}/train", {"steps": 4}, model="f" * 16),
                        done(f"{name}/evaluate", evaluated(right, chance)),
                    )
                )
            return results, results.finish()["arms"][0]

    return run


def test_the_best_loop_is_the_first_of_the_highest_accuracy(collect):
    _, arm = collect(10, 30, 50, 50, 40)
    assert arm["best"] == {"loop": 2, "model": "loop-02/train/model", "accuracy": 0.5}


def test_a_start_that_no_loop_reaches_is_the_best(collect, tmp_path):
    _, arm = collect(60, 30, 50)
    assert arm["best"] == {"loop": 0, "model": str(tmp_path / "start"), "accuracy": 0.6}


@pytest.mark.parametrize(
    ("accuracies", "gain", "without"),
    [
        ((10, 30, 30), 0.0, 1),
        ((10, 30, 29, 31), 0.0, 0),
        # Each rise is below 5 points, of what was best before it.
        ((10, 30, 33, 36), 0.05, 2),
        ((10, 30, 20, 25), 0.0, 2),
    ],
)
def test_loops_without_a_gain_are_counted(collect, accuracies, gain, without):
    results, _ = collect(*accuracies, loops=2, gain=gain)
    assert results.loops_without_gain == without


def test_guessing_is_told(collect, tmp_path, capsys):
    collect(18, 22, 60, chance=0.2)
    out = capsys.readouterr().out
    assert out.count("warning: guessing gives as much (20.0%): rationales of right guesses") == 1
    page = (tmp_path / "out/report.html").read_text()
    assert "Guessing gives 20.0%, which the intervals of 2 models hold." in page


def test_chance_is_that_of_the_options(tmp_path):
    rows = [
        {"id": f"c{n}", "num_tokens": 3, "correct": n < 4, "extracted": "A", "finish_reason": "eos"}
        for n in range(10)
    ]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = counted(path, [choice(n) for n in range(10)], None)
    assert figures["chance"] == pytest.approx(0.2)
    assert by_chance(figures)
    assert not by_chance({**figures, "accuracy_low": 0.21})
    number = Record("c0", "sums", "dev", "numeric", "1+1", None, "2")
    mixed = counted(path, [number, *(choice(n) for n in range(1, 10))], None)
    assert "chance" not in mixed
    assert not by_chance(mixed)


def test_the_page_shows_what_was_generated_kept_and_dropped(collect, tmp_path):
    collect(10, 30)
    page = (tmp_path / "out/report.html").read_text()
    for shown in (
        *("40", "11", "10", "29", "6", "5", "14", "30.0%"),
        "left out: 50 wrong, 2 same equations",
        *("asked True?", "answered True", "asked False?", "answered False"),
        *("neither generation, training", "samples, "),
    ):
        assert shown in page
