"""A crash in every stage, in its middle and before it is noted, changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.records import read_json_lines
from tlm_jax.recipes import stages as stages_module
from tlm_jax.recipes.done import DONE, finished, under_way
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.runs.inference.store import SampleStore
from tlm_jax.runs.training import session


class Crash(BaseException):
    """As sudden as a kill: nothing catches it."""


def params(path: Path) -> list[np.ndarray]:
    source = open_pretrained(str(path))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_params(source, source.config))]


def attempts(output: Path) -> dict[str, list[tuple[str, int, str]]]:
    """Returns all lines that were written, those that a later one repeats included."""
    return {
        str(path.relative_to(output)): [
            (row["id"], row["sample"], row["text"])
            for _, row in read_json_lines(path, any_text=True)
        ]
        for pattern in ("samples.jsonl", "host-*.jsonl")
        for path in sorted(output.rglob(pattern))
    }


def test_a_crash_in_every_stage_changes_nothing(star, tmp_path, monkeypatch):
    method = star(loops=1)
    whole = run_recipe(RecipeConfig(str(tmp_path / "whole"), method), "configuration")
    assert whole is not None
    crashed: list[str] = []
    out = tmp_path / "crashed"

    def crash(kind: str) -> None:
        (stage,) = under_way(out)
        if f"{stage} {kind}" not in crashed:
            crashed.append(f"{stage} {kind}")
            raise Crash

    write, append, next_batch = (
        stages_module.write_json,
        SampleStore.append,
        session._Session._next_batch,
    )
    appended, batches = [0], [0]

    def crashing_write(path, value):
        if path.name == DONE:
            crash("before it is noted")
        write(path, value)

    def crashing_append(store, sample):
        appended[0] += 1
        if appended[0] > 2:
            crash("within its samples")
        append(store, sample)

    def crashing_batch(trained):
        batches[0] += 1
        if batches[0] > 2:
            crash("within its steps")
        return next_batch(trained)

    monkeypatch.setattr(stages_module, "write_json", crashing_write)
    monkeypatch.setattr(SampleStore, "append", crashing_append)
    monkeypatch.setattr(session._Session, "_next_batch", crashing_batch)
    results, starts = None, 0
    while results is None:
        appended[0] = batches[0] = 0
        starts += 1
        try:
            results = run_recipe(RecipeConfig(str(out), method), "configuration")
        except Crash:
            continue
    names = [done.name for done in finished(tmp_path / "whole")]
    assert {name for name in crashed if name.endswith("before it is noted")} == {
        f"{name} before it is noted" for name in names
    }
    assert {name for name in crashed if not name.endswith("noted")} == {
        *(f"{n} within its samples" for n in names if n.endswith(("ate", "ize"))),
        *(f"{n} within its steps" for n in names if n.endswith("train")),
    }
    assert starts == len(crashed) + 1
    for name in (name for name in names if name.endswith("train")):
        for one, other in zip(
            params(tmp_path / "whole" / name / "model"), params(out / name / "model")
        ):
            np.testing.assert_array_equal(one, other)
    found = attempts(out)
    expected = attempts(tmp_path / "whole")
    assert {name: sorted(rows) for name, rows in found.items()} == {
        name: sorted(rows) for name, rows in expected.items()
    }
    assert all(found[name] == rows for name, rows in expected.items() if "host-" not in name)
    told = [
        json.loads((f / "results.json").read_text())["arms"][0] for f in (tmp_path / "whole", out)
    ]
    for loops in zip(*(arm["loops"] for arm in told)):
        # A fingerprint is that of files, which hold more than parameters.
        kept = [{k: v for k, v in loop.items() if k not in ("seconds", "model")} for loop in loops]
        assert kept[0] == kept[1]
