"""Two processes evaluate as one does: `python -m tlm_jax.eval`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(world, output, processes):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    bindings = {
        "OUTPUT_DIR": str(output),
        "CHECKPOINTS": [str(world / "one")],
        "EVAL_TASKS": ["creak_answer_zero_shot"],
        "EVAL_SPLIT": "validation",
        "EVAL_EXAMPLES": 5,
        "TASK_FEATURE_LENGTHS": {"inputs": 24, "targets": 8},
        "EVAL_BATCH_SIZE": 4,
        "DATA_DIR": str(world / "data"),
        "MODES": ["greedy", "rank", "self_consistency"],
        "NUM_SAMPLES": 3,
        "mesh.MeshShape.data": 2,
        "mesh.MeshShape.tensor": 2,
    }
    arguments = [f"--gin.{name}={value!r}" for name, value in bindings.items()]
    running = []
    for index in range(processes):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={4 // processes}",
        }
        if processes > 1:
            environment |= {
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(index),
            }
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tlm_jax.eval", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [process.communicate(timeout=400)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes, "\n".join(said)
    results = json.loads((output / "results.json").read_text())["results"]
    samples = {
        row["mode"]: [
            [sample["text"].split() for sample in json.loads(line)["samples"]]
            for line in (
                output / "samples" / "one" / "creak_answer_zero_shot" / f"{row['mode']}.jsonl"
            )
            .read_text()
            .splitlines()
        ]
        for row in results
    }
    return results, samples


@pytest.mark.slow
def test_two_processes_evaluate_as_one(world, tmp_path):
    alone, alone_samples = run(world, tmp_path / "alone", 1)
    together, together_samples = run(world, tmp_path / "together", 2)
    assert together == alone
    for mode in ("greedy", "self_consistency"):
        assert together_samples[mode] == alone_samples[mode]
    assert [len(samples) for samples in alone_samples["self_consistency"]] == [3] * 5
