"""The benchmark entry finds its benchmarks; what they measure is not a test."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def test_lists_its_benchmarks():
    finished = run()
    assert finished.returncode == 0
    assert "train_step" in finished.stdout
    assert "data" in finished.stdout


def test_names_an_unknown_one():
    finished = run("train_stop")
    assert finished.returncode == 1
    assert "no benchmark 'train_stop'" in finished.stdout


def test_options_are_explained():
    finished = run("train_step", "--help")
    assert finished.returncode == 0
    assert "--vs" in finished.stdout
