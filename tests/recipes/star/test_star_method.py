"""STaR's loop on a small model: what is kept, from where each loop trains, what is done again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.errors import UserError
from tlm_jax.recipes.done import finished
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.recipes.star.config import Plateau
from tlm_jax.runs.inference.config import SamplingConfig

ARM = "seed-0/rationalization"


@pytest.fixture
def run(tmp_path):
    """Returns what runs a method in one directory."""

    def run(method, name: str = "out", **options):
        config = RecipeConfig(str(tmp_path / name), method)
        return run_recipe(config, "configuration", **options)

    return run


def params(path: Path) -> list[np.ndarray]:
    source = open_pretrained(str(path))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_params(source, source.config))]


def test_a_loop_keeps_right_rationales_and_those_with_a_hint_without_it(star, run, tmp_path):
    results = run(star())
    out = tmp_path / "out" / ARM / "loop-01"
    asked = {
        row["id"]: row for _, row in read_json_lines(_samples(tmp_path, "seed-0/loop-01/generate"))
    }
    again = {
        row["id"]: row
        for _, row in read_json_lines(_samples(tmp_path, f"{ARM}/loop-01/rationalize"))
    }
    right = {name for name, row in asked.items() if row["correct"]}
    # The model knows half of the sums, and all with a hint.
    assert len(asked) == 16
    assert 4 <= len(right) <= 12
    assert set(again) == set(asked) - right
    assert all(row["prompt"].endswith(f" ({row['gold']})\nA:") for row in again.values())
    helped = {name for name, row in again.items() if row["correct"]}
    assert helped
    kept = {
        record.id.split("/")[0]: record for record in read_records(out / "select/examples.jsonl")
    }
    assert set(kept) == right | helped
    for name, record in kept.items():
        source = asked[name] if name in right else again[name]
        assert record.get("inputs") == f"Q: {name}\nA:"
        assert record.get("targets") == source["text"].rstrip()
        assert record.get("hinted") == (name in helped)
        assert (record.get("seed"), record.get("loop")) == (source["seed"], 1)
        assert len(record.get("model")) == 16
    figures = results["arms"][0]["loops"][1]["selection"]
    assert figures["attempts"] == 16
    assert (figures["right"], figures["kept"]) == (len(right), len(right))
    assert (figures["hinted_right"], figures["hinted_kept"]) == (len(helped), len(helped))
    assert figures["hint_leaks"] == 0
    wrong = [row for _, row in read_json_lines(out / "select/wrong.jsonl")]
    assert {row["id"] for row in wrong} <= set(asked) - right
    assert all(row["extracted"] and not row["hinted"] and row["question"] for row in wrong)


def test_every_loop_starts_from_the_same_model(star, run, start, tmp_path):
    results = run(star())
    starts = [
        done.decided_by["content of the model it starts from"]
        for done in finished(tmp_path / "out")
        if done.name.endswith("/train")
    ]
    assert len(starts) == 2
    assert set(starts) == {results["arms"][0]["start"]["fingerprint"]}
    steps = [loop["training"]["steps"] for loop in results["arms"][0]["loops"][1:]]
    assert steps == [4, 6]
    # All of them are kept, so that the best one is.
    models = [path.parent for path in (tmp_path / "out").rglob("model.json")]
    assert len(models) == 2
    assert all(params(model) for model in models)


def test_a_loop_may_start_from_the_last_one(star, run, tmp_path):
    run(star(restart=False))
    by_name = {done.name: done for done in finished(tmp_path / "out")}
    first, second = (by_name[f"{ARM}/loop-0{n}/train"] for n in (1, 2))
    assert second.decided_by["content of the model it starts from"] == first.wrote["model"]


def test_the_second_loop_compiles_nothing(star, run):
    # All questions at once, so that both loops ask in batches of the same shapes.
    compiled = run(star(batch_size=16))["cost"]["compilations"]
    assert compiled[f"{ARM}/loop-01/train"] > 0
    later = {name: count for name, count in compiled.items() if "/loop-02/" in name}
    assert len(later) == 5
    assert {name: count for name, count in later.items() if count} == {}


def test_the_same_command_does_nothing_again(star, run, tmp_path, capsys):
    first = run(star())
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("samples.jsonl")}
    capsys.readouterr()
    second = run(star())
    assert capsys.readouterr().out.count("done before") == 12
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("samples.jsonl")} == before
    assert second["arms"] == first["arms"]


def test_what_changes_is_done_again_and_why_is_said(star, run, tmp_path, capsys):
    method = star()
    run(method)
    capsys.readouterr()
    faster = dataclasses.replace(method.config.schedule, first=5)
    run(star(schedule=faster))
    out = capsys.readouterr().out
    assert "== seed-0/loop-01/generate: done before" in out
    assert (
        f"== {ARM}/loop-01/train: again, because settings.training.train_steps was 4 and is 5"
        in out
    )
    assert f"== {ARM}/loop-02/generate: again, because content of the model was" in out
    assert (tmp_path / "out/replaced" / ARM / "loop-01/train.1/model").is_dir()


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"rule": "text"}, 'rule was null and is "text"'),
        ({"sampling": {"max_tokens": 7}}, "sampling.max_tokens was 8 and is 7"),
        ({"form": {"stop": ("\n\n",)}}, "stop was"),
        ({"data": {"add_bos": True}}, "bos and eos was [null, false] and is [true, false]"),
        ({"model": {"dtype": "bfloat16"}}, 'dtype was "float32" and is "bfloat16"'),
    ],
)
def test_what_decides_answers_is_in_their_key(star, run, changes, setting, capsys):
    config = star().config
    run(star(), until="seed-0/loop-00/evaluate")
    training, fields = config.training, {}
    for name, change in changes.items():
        if name in ("data", "model"):
            part = dataclasses.replace(getattr(training, name), **change)
            fields["training"] = dataclasses.replace(training, **{name: part})
        elif isinstance(change, dict):
            fields[name] = dataclasses.replace(getattr(config, name), **change)
        else:
            fields[name] = change
    capsys.readouterr()
    run(star(**fields), until="seed-0/loop-00/evaluate")
    expected = f"== seed-0/loop-00/evaluate: again, because settings.{setting}"
    assert expected in capsys.readouterr().out


def test_a_changed_file_is_noticed(star, run, tmp_path, capsys):
    run(star())
    wrong = tmp_path / "out" / ARM / "loop-02/select/wrong.jsonl"
    wrong.write_text("{}\n")
    capsys.readouterr()
    run(star())
    out = capsys.readouterr().out
    assert f"== {ARM}/loop-02/select: again, because {wrong} is not as it was written" in out
    assert out.count("again, because") == 1
    assert wrong.read_text() != "{}\n"


def test_again_and_until(star, run, tmp_path, capsys):
    assert run(star(), until=f"{ARM}/loop-01/select") is None
    assert not (tmp_path / "out" / ARM / "loop-01/train").exists()
    capsys.readouterr()
    assert run(star(), until=f"{ARM}/loop-01/select", again=f"{ARM}/loop-01") is None
    out = capsys.readouterr().out
    assert "== seed-0/loop-01/generate: done before" in out
    assert f"== {ARM}/loop-01/rationalize: again, because you asked for it" in out
    with pytest.raises(UserError, match="--until=loop-01/select: there is no such stage"):
        run(star(), until="loop-01/select")


def test_both_arms_ask_the_first_model_once(star, run, tmp_path):
    results = run(star(arms=("rationalization", "plain"), loops=1))
    names = [done.name for done in finished(tmp_path / "out")]
    assert [name for name in names if name.endswith("generate")] == ["seed-0/loop-01/generate"]
    assert "seed-0/plain/loop-01/rationalize" not in names
    hinted, plain = (arm["loops"][1]["selection"] for arm in results["arms"])
    assert (hinted["right"], hinted["kept"]) == (plain["right"], plain["kept"])
    assert plain["hinted_attempts"] == 0 < hinted["hinted_attempts"]
    # On one step schedule.
    assert [arm["loops"][1]["training"]["steps"] for arm in results["arms"]] == [4, 4]


def test_questions_with_a_hint_are_asked_in_their_own_way(star, run, tmp_path):
    sampling = SamplingConfig(max_tokens=8, temperature=1.0, num_samples=3, logprobs=False)
    asked = star(sampling=sampling, hinted_samples=1, hinted_temperature=0.0)
    run(asked, until=f"{ARM}/loop-01/select")
    names = [row["id"] for _, row in read_json_lines(_samples(tmp_path, "seed-0/loop-01/generate"))]
    assert {names.count(name) for name in names} == {3}
    hinted = [row for _, row in read_json_lines(_samples(tmp_path, f"{ARM}/loop-01/rationalize"))]
    assert len(hinted) == len({row["id"] for row in hinted})
    # At temperature 0 another seed changes nothing.
    again = dataclasses.replace(sampling, seed=5)
    run(star(sampling=again, hinted_samples=1, hinted_temperature=0.0), "other")
    other = tmp_path / "other" / ARM / "loop-01/rationalize/samples/samples.jsonl"
    texts = {row["id"]: row["text"] for row in hinted}
    both = [
        (row["text"], texts[row["id"]]) for _, row in read_json_lines(other) if row["id"] in texts
    ]
    assert both
    assert all(one == two for one, two in both)


def test_a_plateau_ends_the_arm(star, run, capsys):
    results = run(star(loops=5, plateau=Plateau(loops=1, gain=1.0)))
    assert [loop["loop"] for loop in results["arms"][0]["loops"]] == [0, 1]
    assert (
        "the rationalization arm ends after loop 1: no gain in 1 loops" in capsys.readouterr().out
    )


def test_results_and_page_grow_with_the_loops(star, run, tmp_path):
    run(star(), until=f"{ARM}/loop-02/generate")
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert not results["complete"]
    assert [loop["loop"] for loop in results["arms"][0]["loops"]] == [0, 1]
    page = (tmp_path / "out/report.html").read_text()
    assert "under way" in page
    assert "samples to read" in page
    best = results["arms"][0]["best"]
    accuracies = [loop["evaluation"]["accuracy"] for loop in results["arms"][0]["loops"]]
    assert best["accuracy"] == max(accuracies)


def _samples(tmp_path: Path, stage: str) -> Path:
    return tmp_path / "out" / stage / "samples/samples.jsonl"
