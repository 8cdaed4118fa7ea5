"""Everything that T5X recorded comes out the same here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.conformance.agreement import Report, compare
from tlm_jax.conformance.t5x_agreement import check_directory

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_agreement"
MODELS = ["t5", "scalable_t5", "decoder_only"]


@pytest.mark.parametrize("model", [f"{m}_{kind}" for m in MODELS for kind in ("untied", "tied")])
def test_agrees_with_t5x(shared_dir, model):
    directory = shared_dir / "fixtures" / "t5x" / model
    if not directory.is_dir():
        pytest.skip(f"no recorded outputs at {directory}")
    report = check_directory(directory)
    assert not [comparison for comparison in report.comparisons if not comparison.agrees]
    assert len(report.comparisons) > 150
    assert not report.not_compared


def test_a_difference_is_measured_and_judged():
    expected = np.array([1.0, -4.0])
    close = compare("x", np.array([1.0, -4.0 + 2e-5]), expected, 1e-5)
    assert close.difference == pytest.approx(2e-5)
    assert not close.agrees
    assert compare("x", np.array([1.0, -4.0 + 2e-5]), expected, 1e-5, relative=True).agrees
    assert not compare("x", np.array([1.0, np.nan]), expected, 1e9).agrees
    assert not compare("x", np.array([1.0]), expected, 1e9).agrees
    assert not Report([], []).agrees


def run_script(*arguments):
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


def test_script_reports_a_wrong_array_and_fails(shared_dir, tmp_path):
    source = shared_dir / "fixtures" / "t5x" / "decoder_only_untied"
    for name in ("inputs.npz", "params.npz"):
        shutil.copy(source / name, tmp_path)
    with np.load(source / "outputs.npz") as arrays:
        kept = {name: arrays[name] for name in ("param_names", "logits", "scores")}
    kept["logits"][1, 2, 3] += 1e-3
    np.savez(tmp_path / "outputs.npz", **kept)
    finished = run_script(str(tmp_path))
    assert finished.returncode == 1, finished.stderr
    assert "DIFFERS  1.0" in finished.stdout
    assert "2 arrays compared, 1 beyond tolerance" in finished.stdout


def test_script_names_a_missing_file(tmp_path):
    finished = run_script(str(tmp_path))
    assert finished.returncode == 1
    assert finished.stderr.startswith("check_agreement: no ")
    assert "inputs.npz" in finished.stderr
    assert "Traceback" not in finished.stderr
