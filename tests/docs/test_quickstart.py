"""The quickstart, shortened."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow  # six commands
def test_quickstart_runs(tmp_path):
    finished = subprocess.run(
        [
            *("scripts/quickstart", str(tmp_path / "out"), "TRAIN_STEPS=2"),
            *("--gin.schedules.Cosine.warmup_steps=1", "EVAL_EXAMPLES=2"),
        ],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "QUICKSTART_QUESTIONS": "40",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "distributions against solutions" in finished.stdout
    for name in ("answers/report.html", "cache/examples.jsonl", "comparison.html"):
        assert (tmp_path / "out" / name).exists()
