"""Memory of a conversion grows with the largest tensor, not with the model."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_peak_is_at_most_the_largest_tensor_and_a_third(tmp_path):
    """A model of 0.8 GB, six times its largest tensor; in bfloat16, there and back."""
    options = ["--layers=16", "--width=1024", f"--directory={tmp_path}"]
    done = subprocess.run(
        [ROOT / "scripts" / "benchmark", "convert", *options],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    shares = re.findall(r"= (\d+\.\d+) of the largest tensor", done.stdout)
    assert len(shares) == 3, done.stdout
    assert max(map(float, shares)) <= 1.3, done.stdout
