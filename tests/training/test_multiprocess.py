"""Two processes of four devices train as one process of eight does: `python -m tlm_jax.train`."""

import json

import numpy as np
import pytest

BINDINGS = {
    "TASK_FEATURE_LENGTHS": {"inputs": 64, "targets": 64},
    "BATCH_SIZE": 8,
    "LOG_PERIOD": 1,
    "schedules.Constant.value": 0.01,
    "EVAL_TASKS": ["addition_direct"],
    "EVAL_EXAMPLES": 5,
    "EVAL_BATCH_SIZE": 4,
    "run.EvaluationConfig.max_decode_tokens": 4,
}


@pytest.fixture
def train(run_processes):
    """Returns a function that trains in `folder` with eight devices divided among processes."""

    def train(folder, processes, steps, *, pack, mesh):
        bindings = BINDINGS | {
            "MODEL_DIR": str(folder),
            "TRAIN_STEPS": steps,
            "PACK": pack,
            **{
                f"mesh.MeshShape.{axis}": size
                for axis, size in zip(("data", "fsdp", "tensor"), mesh)
            },
        }
        arguments = [f"--gin.{name}={value!r}" for name, value in bindings.items()]
        arguments.append("--gin_file=tests/tiny_run.gin")
        run_processes("tlm_jax.train", *arguments, processes=processes, devices=8)

    return train


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
def test_two_processes_train_as_one(train, tmp_path, pack, mesh):
    alone, together = tmp_path / "alone", tmp_path / "together"
    train(alone, 1, 4, pack=pack, mesh=mesh)
    train(together, 2, 4, pack=pack, mesh=mesh)
    np.testing.assert_allclose(_losses(together, 4), _losses(alone, 4), rtol=0, atol=1e-5)
    one, two = (_metrics(f, "eval/addition_direct")[4] for f in (alone, together))
    assert two["num_examples"] == one["num_examples"] == 5
    assert two["nll_nats"] == pytest.approx(one["nll_nats"], abs=1e-5)
    texts = [[line["prediction"] for line in _predictions(f, 4)] for f in (alone, together)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 5


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(train, tmp_path):
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    train(whole, 1, 6, pack=True, mesh=(2, 2, 2))
    train(moved, 2, 3, pack=True, mesh=(2, 2, 2))
    train(moved, 1, 6, pack=True, mesh=(4, 2, 1))
    np.testing.assert_allclose(_losses(moved, 6), _losses(whole, 6), rtol=0, atol=1e-5)
