"""The quickstart, shortened."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow  # five commands; the teacher must at least have learned to write text
def test_quickstart_runs(tmp_path):
    finished = subprocess.run(
        [
            *("scripts/quickstart", str(tmp_path / "out"), "--gin.TRAIN_STEPS=80"),
            *("--gin.schedules.Cosine.warmup_steps=10", "--gin.EVAL_EXAMPLES=2"),
        ],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "QUICKSTART_QUESTIONS": "40",
            "QUICKSTART_KEEP_WRONG": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "student distilled against student alone" in finished.stdout
    for name in ("teacher/report.html", "cache/examples.jsonl", "comparison.html"):
        assert (tmp_path / "out" / name).exists()
