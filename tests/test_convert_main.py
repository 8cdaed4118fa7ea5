"""`python -m tlm_jax.convert` as a person meets it: what it prints, and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.checkpoints.pretrained import open_pretrained

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "hf"


def _convert(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tlm_jax.convert", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_there_and_back(tmp_path):
    source = GOLDEN / "llama_tied_linear_rope"
    done = _convert(source, tmp_path / "native", "--to=native", "--dtype=bfloat16")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *_, last = done.stdout.splitlines()
    assert first == f"reading {source} (hf)"
    assert last.startswith("wrote DecoderOnlyConfig, ")
    assert last.endswith(f"to {tmp_path}/native (native); checksums are in conversion.json")
    done = _convert(tmp_path / "native", tmp_path / "hf", "--to=hf", "--dtype=float32")
    assert done.returncode == 0, done.stderr
    assert open_pretrained(tmp_path / "hf").config == open_pretrained(source).config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{tmp}/absent", "{tmp}/out", "--to=native"), "no model at"),
        (("{golden}/mistral", "{tmp}/out", "--to=natve"), "Did you mean 'native'?"),
        (("{golden}/mistral", "{golden}/gemma", "--to=hf"), "exists already"),
        (("{golden}/mistral", "{tmp}/out", "--to=hf", "--from=t5x"), "mistral"),
        (("{golden}/mistral", "{tmp}/out"), "required: --to"),
        (("{golden}/mistral", "{tmp}/out", "--to=hf", "--shard_gb=nan"), "gigabytes above 0"),
    ],
)
def test_errors_are_one_line(tmp_path, arguments, message):
    done = _convert(*(text.format(tmp=tmp_path, golden=GOLDEN) for text in arguments))
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.iterdir())
