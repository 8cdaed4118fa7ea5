"""Two processes of four devices train as one process of eight does: `python -m tlm_jax.train`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
CONFIGURATION = """
from __gin__ import dynamic_registration
from tlm_jax.models import config as models
from tlm_jax.optim import optimizers
from tlm_jax.optim import schedules
from tlm_jax.runs import config as run
from tlm_jax.sharding import mesh
include 'gin_configs/runs/train.gin'

MODEL = @models.EncoderDecoderConfig()
models.EncoderDecoderConfig:
  vocab_size = 264
  embed_dim = 16
  num_heads = 2
  head_dim = 8
  mlp_dim = 32
  num_encoder_layers = 1
  num_decoder_layers = 1
OPTIMIZER = @optimizers.AdamW()
optimizers.AdamW.learning_rate = @schedules.Constant()
schedules.Constant.value = 0.01
MIXTURE_OR_TASK_NAME = 'addition_direct'
VOCABULARY = 'byte'
TASK_FEATURE_LENGTHS = {'inputs': 64, 'targets': 64}
BATCH_SIZE = 8
LOG_PERIOD = 1
EVAL_TASKS = ['addition_direct']
EVAL_EXAMPLES = 5
EVAL_BATCH_SIZE = 4
run.EvaluationConfig.max_decode_tokens = 4
"""


def _environment(processes, index, port):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={8 // processes}",
    }
    if processes > 1:
        environment |= {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(index),
        }
    return environment


def _free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _train(folder, processes, steps, *, pack, mesh):
    """Trains in `folder` with eight devices divided among processes; returns their output."""
    config = folder.with_suffix(".gin")
    config.write_text(CONFIGURATION)
    data, fsdp, tensor = mesh
    bindings = {
        "MODEL_DIR": f"'{folder}'",
        "TRAIN_STEPS": steps,
        "PACK": pack,
        "mesh.MeshShape.data": data,
        "mesh.MeshShape.fsdp": fsdp,
        "mesh.MeshShape.tensor": tensor,
    }
    command = [sys.executable, "-m", "tlm_jax.train", f"--gin_file={config}"]
    command += [f"--gin.{name}={value}" for name, value in bindings.items()]
    port = _free_port()
    running = [
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=_environment(processes, index, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=400)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, "\n".join(outputs)
    return outputs


def _metrics(folder, split):
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row for row in rows if row["split"] == split}


def _losses(folder, steps):
    rows = _metrics(folder, "train")
    assert sorted(rows) == list(range(1, steps + 1))
    return [rows[step]["loss"] for step in sorted(rows)]


def _predictions(folder, step):
    path = folder / "eval" / "addition_direct" / f"step_{step}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("pack", "mesh"),
    [(True, (2, 2, 2)), pytest.param(False, (1, 1, 8), marks=pytest.mark.slow)],
    ids=["packed-2x2x2", "unpacked-1x1x8"],
)
def test_two_processes_train_as_one(tmp_path, pack, mesh):
    alone, together = tmp_path / "alone", tmp_path / "together"
    _train(alone, 1, 4, pack=pack, mesh=mesh)
    _train(together, 2, 4, pack=pack, mesh=mesh)
    np.testing.assert_allclose(_losses(together, 4), _losses(alone, 4), rtol=0, atol=1e-5)
    one, two = (_metrics(f, "eval/addition_direct")[4] for f in (alone, together))
    assert two["num_examples"] == one["num_examples"] == 5
    assert two["nll_nats"] == pytest.approx(one["nll_nats"], abs=1e-5)
    texts = [[line["prediction"] for line in _predictions(f, 4)] for f in (alone, together)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 5


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    _train(whole, 1, 6, pack=True, mesh=(2, 2, 2))
    _train(moved, 2, 3, pack=True, mesh=(2, 2, 2))
    _train(moved, 1, 6, pack=True, mesh=(4, 2, 1))
    np.testing.assert_allclose(_losses(moved, 6), _losses(whole, 6), rtol=0, atol=1e-5)
