"""Two processes evaluate as one does: `python -m tlm_jax.eval`."""

import json

import pytest


def run(run_processes, world, output, processes):
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
    run_processes("tlm_jax.eval", *arguments, processes=processes, devices=4)
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
def test_two_processes_evaluate_as_one(run_processes, world, tmp_path):
    alone, alone_samples = run(run_processes, world, tmp_path / "alone", 1)
    together, together_samples = run(run_processes, world, tmp_path / "together", 2)
    assert together == alone
    for mode in ("greedy", "self_consistency"):
        assert together_samples[mode] == alone_samples[mode]
    assert [len(samples) for samples in alone_samples["self_consistency"]] == [3] * 5
