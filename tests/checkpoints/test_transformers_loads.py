"""transformers loads what we write, without a missing or unexpected tensor, and computes the same.

Needs the environment of `scripts/setup peers`; skips, saying so, where it is absent.
"""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.pretrained import open_pretrained

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "hf"
PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@pytest.fixture
def transformers_logits(tmp_path):
    """Runs transformers: `logits({directory: folder of reference.npz}) -> {directory: logits}`."""
    if not PYTHON.is_file():
        pytest.skip("no .venv-peers: run scripts/setup peers")

    def run(pairs):
        output = tmp_path / "logits.npz"
        arguments = [f"{directory}={folder}/reference.npz" for directory, folder in pairs.items()]
        worker = Path(__file__).with_name("worker_transformers.py")
        done = subprocess.run(
            [PYTHON, worker, output, *arguments], capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return dict(np.load(output))

    return run


@pytest.mark.slow
def test_every_family_is_loaded_as_we_wrote_it(transformers_logits, tmp_path, shared_dir):
    """Written once with the config.json they came with, and once with one of our making."""
    sources = [*GOLDEN.iterdir(), *(shared_dir / "fixtures" / "hf").iterdir()]
    pairs = {}
    for source in sources:
        if not (source / "config.json").is_file():
            continue
        convert(open_pretrained(source), tmp_path / source.name / "native", "native")
        native = open_pretrained(tmp_path / source.name / "native")
        convert(native, tmp_path / source.name / "kept", "hf")
        made = dataclasses.replace(native, hugging_face=None)
        convert(made, tmp_path / source.name / "made", "hf")
        for name in ("kept", "made"):
            pairs[str(tmp_path / source.name / name)] = source
    assert len(pairs) >= 2 * 21
    found = transformers_logits(pairs)
    for directory, source in pairs.items():
        reference = np.load(source / "reference.npz")
        real = reference["labels"] > 0
        if "left_logits" in reference:
            real = reference["attention_mask"] == 1
        np.testing.assert_allclose(
            found[directory][real], reference["logits"][real], atol=1e-5, err_msg=directory
        )
