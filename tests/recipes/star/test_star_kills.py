"""A recipe that is killed at any moment: the same command ends with the same parameters."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlm_jax import trees
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained

ROOT = Path(__file__).parents[3]


def start(output: Path, *settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tlm_jax.recipe"),
            *("--gin_file=tests/recipes/star/star_run.gin", f"OUTPUT_DIR={output}", *settings),
        ],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def whole(output: Path) -> str:
    process = start(output)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    whole(output)
    return output


def assert_the_same(one: Path, other: Path) -> None:
    """Parameters bit for bit, and every attempt once."""
    models = [path.parent.relative_to(one) for path in sorted(one.rglob("model.json"))]
    assert len(models) == 3
    for model in models:
        found = [_params(folder / model) for folder in (one, other)]
        assert found[0].keys() == found[1].keys()
        for name, array in found[0].items():
            np.testing.assert_array_equal(array, found[1][name], err_msg=f"{model} {name}")
    for path in sorted(one.rglob("samples.jsonl")):
        texts = [_texts(folder / path.relative_to(one)) for folder in (one, other)]
        assert texts[0] == texts[1]
    assert _figures(one) == _figures(other)


def _params(model_dir: Path) -> dict[str, np.ndarray]:
    source = open_pretrained(str(model_dir))
    params = trees.flatten(load_params(source, source.config))
    return {name: np.asarray(array) for name, array in params.items()}


def _texts(path: Path) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["id"], row["text"]) for row in rows]


def _figures(output: Path) -> list[dict]:
    results = json.loads((output / "results.json").read_text())
    return [{**loop["selection"], **loop["evaluation"]} for loop in results["arms"][0]["loops"][1:]]


def kill_until_done(output: Path, longest_seconds: float, most: int, seed: int) -> int:
    """Kills at random moments; returns how often, before the recipe came to its end."""
    chance, kills = random.Random(seed), 0
    while kills < most:
        process = start(output)
        try:
            out, _ = process.communicate(timeout=chance.uniform(0.5, longest_seconds))
            assert process.returncode == 0, out
            return kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    whole(output)
    return kills


@pytest.mark.slow
def test_twenty_kills_change_nothing(undisturbed, tmp_path):
    kills, round_number = 0, 0
    while kills < 20:
        output = tmp_path / f"out-{round_number}"
        kills += kill_until_done(output, 30, 20 - kills, seed=round_number)
        assert_the_same(undisturbed, output)
        round_number += 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "setting", "number"),
    [
        ("loop-01/generate", "NUM_TRAIN=4000", signal.SIGTERM),
        ("loop-01/train", "--gin.schedules.Linear.first=4000", signal.SIGINT),
    ],
)
def test_a_signal_ends_the_recipe_and_begins_no_stage(
    undisturbed, tmp_path, stage, setting, number
):
    # With another setting the stage, and nothing before it that takes time, is done again.
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    process = start(output, setting)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("== ") and line.rstrip().endswith(stage):
            break
    time.sleep(8)
    os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, out
    assert "what was finished is safe, and the same command goes on" in out
    assert "== " not in out
    (folder,) = {path.parent for path in output.rglob("started.json")}
    assert str(folder).endswith(stage)
    assert not (folder / "stage.json").exists()
