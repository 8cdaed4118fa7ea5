"""Compiling a run's step for TPU slices that are not here: `python -m tlm_jax.precompile`."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`"
)

CONFIGURATION = """
from __gin__ import dynamic_registration
from tlm_jax.models import config as models
from tlm_jax.optim import optimizers
from tlm_jax.optim import schedules
from tlm_jax.sharding import mesh
include 'gin_configs/runs/train.gin'

MODEL = {model}
MODEL_DIR = 'never_made'
MIXTURE_OR_TASK_NAME = 'never_opened'
TASK_FEATURE_LENGTHS = {{'inputs': 128, 'targets': 128}}
BATCH_SIZE = 8
TRAIN_STEPS = 1
PACK = True
OPTIMIZER = @optimizers.Adafactor()
optimizers.Adafactor.learning_rate = @schedules.Constant()
schedules.Constant.value = 0.001
mesh.MeshShape.fsdp = 2
mesh.MeshShape.tensor = 2
"""
SIZES = """
  vocab_size = {vocab_size}
  embed_dim = 128
  num_heads = 2
  head_dim = 64
  mlp_dim = 256
  dtype = 'bfloat16'
"""
ENCODER_DECODER = """
models.EncoderDecoderConfig:
  num_encoder_layers = 2
  num_decoder_layers = 2
"""
DECODER_ONLY = """
models.DecoderOnlyConfig:
  num_layers = 2
  remat_policy = 'full'
"""


def _write(path, stack, vocab_size=512):
    name = "DecoderOnlyConfig" if stack is DECODER_ONLY else "EncoderDecoderConfig"
    text = CONFIGURATION.format(model=f"@models.{name}()")
    path.write_text(text + stack.rstrip() + SIZES.format(vocab_size=vocab_size))
    return path


def _precompile(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tlm_jax.precompile", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=580,
    )


def test_help_names_the_topologies():
    done = _precompile("--help")
    assert done.returncode == 0
    assert "--topology NAME" in done.stdout
    assert "v5p:4x4x4" in done.stdout


def test_a_misspelled_topology_is_one_line(tmp_path):
    config = _write(tmp_path / "run.gin", DECODER_ONLY)
    done = _precompile(f"--gin_file={config}", "--topology=v5q:2x2x1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown TPU generation 'v5q'")
    assert done.stderr.count("\n") == 1


@needs_libtpu
def test_a_mesh_that_does_not_suit_the_slice_is_one_line(tmp_path):
    config = _write(tmp_path / "run.gin", DECODER_ONLY)
    done = _precompile(f"--gin_file={config}", "--topology=v5e:1x1")
    assert done.returncode == 1
    assert "fsdp=2, tensor=2 has 4 partitions, but there are only 1 devices" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("stack", [ENCODER_DECODER, DECODER_ONLY], ids=["encdec", "dec"])
def test_small_models_compile_and_fit(tmp_path, stack):
    config = _write(tmp_path / "run.gin", stack)
    done = _precompile(f"--gin_file={config}", "--topology=v5e:2x2")
    assert done.returncode == 0, done.stderr
    assert "mesh data 1 x fsdp 2 x tensor 2" in done.stdout
    figures = {
        label: float(value)
        for label, value in re.findall(r"^  (\w[^.\d]*?)  +([\d.]+)$", done.stdout, re.M)
    }
    # Parameters of all four devices: 0.6M or 0.9M float32 numbers; nothing here needs a GiB.
    assert 0.0 <= figures["arguments: state and batch"] < 0.1
    assert figures["arguments: state and batch"] <= figures["peak"] < 1.0
    assert "of the 15.75 GiB that a program may use (16 GiB a chip)" in done.stdout
    assert not (REPOSITORY / "never_made").exists()


@needs_libtpu
@pytest.mark.slow
def test_a_model_too_large_for_the_slice_fails_with_the_figures(tmp_path):
    # Two tables of 96M x 128 float32 numbers: 24 GiB on each of four devices.
    config = _write(tmp_path / "run.gin", DECODER_ONLY, vocab_size=96 * 2**20)
    done = _precompile(f"--gin_file={config}", "--topology=v5e:2x2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: does not fit v5e:2x2: ")
    assert re.search(r"\d+(\.\d+)?G\b", done.stderr)
    assert "REMAT_POLICY='full'" in done.stderr
    assert done.stderr.count("\n") == 1
