"""Two processes run a recipe as one does, and end together: `python -m tlm_jax.recipe`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlm_jax import trees
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.records import read_json_lines

ROOT = Path(__file__).parents[3]
TINY = "--gin_file=tests/recipes/star/star_run.gin"


def params(model_dir: Path) -> dict[str, np.ndarray]:
    source = open_pretrained(str(model_dir))
    loaded = trees.flatten(load_params(source, source.config))
    return {name: np.asarray(array) for name, array in loaded.items()}


def texts(path: Path) -> list[tuple[str, int, str]]:
    rows = [row for _, row in read_json_lines(path, any_text=True)]
    return [(row["id"], row["sample"], row["text"]) for row in rows]


def below(folder: Path, name: str) -> list[Path]:
    return [path.relative_to(folder) for path in sorted(folder.rglob(name))]


@pytest.mark.slow
def test_two_processes_are_one(run_processes, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for output, processes in ((alone, 1), (together, 2)):
        # Of training's mesh each process has one device, with which it generates.
        settings = ("LOOPS=1", "NUM_TRAIN=16", "--gin.mesh.MeshShape.fsdp=2")
        run_processes(
            *("tlm_jax.recipe", TINY, f"OUTPUT_DIR={output}", *settings),
            processes=processes,
            devices=2,
            timeout_s=900,
        )
    assert below(together, "stage.json") == below(alone, "stage.json")
    for path in below(together, "stage.json"):
        one, two = (json.loads((folder / path).read_text()) for folder in (alone, together))
        assert two["starts"] == 1
        assert two["figures"] == one["figures"]
    assert not below(together, "started.json")
    for path in below(alone, "samples.jsonl"):
        assert texts(together / path) == texts(alone / path)
        # Each process has drawn its share.
        drawn = [len(texts(part)) for part in (together / path).parent.glob("parts/host-*.jsonl")]
        assert len(drawn) == 2
        assert sum(drawn) == len(texts(alone / path))
    models = below(alone, "model-info.txt")
    assert len(models) == 2
    for path in models:
        one, two = (params((folder / path).parent) for folder in (alone, together))
        assert one.keys() == two.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(two[name], array, err_msg=f"{path} {name}")
    assert len(below(together, "results.json")) == 1
    one, two = (json.loads((f / "results.json").read_text())["arms"][0] for f in (alone, together))
    assert [loop["evaluation"] for loop in two["loops"]] == [
        loop["evaluation"] for loop in one["loops"]
    ]


def test_an_error_of_one_ends_both_and_is_told_by_both(tmp_path):
    # Only the first process writes notes.
    note = tmp_path / "out" / "questions" / "stage.json"
    note.mkdir(parents=True)
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    two = [
        subprocess.Popen(
            [sys.executable, "-m", "tlm_jax.recipe", TINY, f"OUTPUT_DIR={tmp_path / 'out'}"],
            cwd=ROOT,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": "",
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(index),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        said = [process.communicate(timeout=400)[0] for process in two]
    finally:
        for process in two:
            process.kill()
    assert [process.returncode for process in two] == [1, 1], said
    line = f"{note} cannot be written: Is a directory"
    assert said[0].splitlines()[-1] == f"error: {line}"
    assert said[1].splitlines()[-1] == f"error: process 0 of 2 ended: {line}"
    assert said[0].count("== questions") == 1
    assert "== questions" not in said[1]
