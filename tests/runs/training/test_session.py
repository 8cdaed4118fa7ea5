"""A run stops, goes on, and comes out the same as if it had never stopped."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.metrics.writers import read_metrics
from tlm_jax.models.config import DecoderOnlyConfig
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.runs.training.config import CheckpointConfig, DataConfig, EvaluationConfig
from tlm_jax.runs.training.parts import build_parts
from tlm_jax.runs.training.session import run_training
from tlm_jax.sharding.mesh import MeshShape

TEXT = "# what config.gin will hold\n"


def _final_state(run):
    """Returns every leaf of the newest checkpoint."""
    manager = CheckpointManager(Path(run.model_dir, "checkpoints"))
    restored = manager.restore(build_parts(run).abstract_state)
    manager.close()
    assert restored is not None
    return restored[1]


def _losses(run):
    rows = read_metrics(Path(run.model_dir, "metrics.jsonl"))
    return {row["step"]: row["loss"] for row in rows if row["split"] == "train"}


@pytest.mark.parametrize("pack", [pytest.param(False, marks=pytest.mark.slow), True])
def test_continuing_is_bit_identical_to_never_stopping(tiny_run, pack):
    data = dataclasses.replace(tiny_run().data, pack=pack)
    whole = tiny_run("whole", data=data)
    run_training(whole, TEXT)
    expected = _final_state(whole)
    # 2 and 5 are within a window of 4 steps that metrics are averaged over.
    for stops in ((3,), (2, 5)):
        run = tiny_run(f"stopped at {stops}", data=data)
        for stop in (*stops, run.train_steps):
            run_training(dataclasses.replace(run, train_steps=stop), TEXT)
        state = _final_state(run)
        for name in ("state", "data", "metrics"):
            jax.tree.map(
                np.testing.assert_array_equal, getattr(state, name), getattr(expected, name)
            )
        assert _losses(run) == _losses(whole)


def test_finished_run_does_nothing(tiny_run, capsys):
    run = tiny_run(train_steps=2)
    run_training(run, TEXT)
    before = Path(run.model_dir, "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert run_training(run, TEXT) == 2
    assert "has had 2 of 2 steps: nothing to do. Raise TRAIN_STEPS" in capsys.readouterr().out
    assert Path(run.model_dir, "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("pack", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_mesh_gives_the_same_losses(tiny_run, pack):
    data = dataclasses.replace(tiny_run().data, pack=pack)
    # Dropout masks are drawn per shard, so only a deterministic model can agree.
    model = dataclasses.replace(tiny_run().model, dropout_rate=0.0)
    losses = {}
    for shape in ((8, 1, 1), (1, 8, 1), (2, 2, 2), (4, 1, 2)):
        run = tiny_run(
            str(shape), model=model, data=data, log_period_steps=1, mesh=MeshShape(*shape)
        )
        run_training(run, TEXT)
        losses[shape] = [loss for _, loss in sorted(_losses(run).items())]
    micro = tiny_run(
        "micro", model=model, data=data, log_period_steps=1, batch_size=8, micro_batches=4,
        mesh=MeshShape(data=1, fsdp=2, tensor=4),
    )  # fmt: skip
    run_training(micro, TEXT)
    losses["micro"] = [loss for _, loss in sorted(_losses(micro).items())]
    reference = losses.pop((8, 1, 1))
    assert len(reference) == 6
    for shape, values in losses.items():
        np.testing.assert_allclose(values, reference, rtol=0, atol=1e-5, err_msg=str(shape))


def test_evaluation_files_and_metrics(tiny_run, capsys):
    evaluation = EvaluationConfig(
        tasks=["addition_direct"], period_steps=2, num_examples=5, batch_size=4, max_decode_tokens=4
    )
    run = tiny_run(train_steps=3, evaluation=evaluation)
    run_training(run, "TRAIN_STEPS = 3\n")
    directory = Path(run.model_dir)
    rows = [
        r for r in read_metrics(directory / "metrics.jsonl") if r["split"] == "eval/addition_direct"
    ]
    assert [row["step"] for row in rows] == [2, 3]
    assert all(0 <= row["accuracy"] <= 1 and row["nll_nats"] > 0 for row in rows)
    predictions = (directory / "eval/addition_direct/step_3.jsonl").read_text().splitlines()
    assert len(predictions) == 5
    assert {"id", "prompt", "prediction", "extracted", "gold", "correct"} <= set(
        json.loads(predictions[0])
    )
    assert (directory / "config.gin").read_text() == "TRAIN_STEPS = 3\n"
    info = (directory / "model-info.txt").read_text()
    assert "encoder" in info
    assert "decoder" in info
    assert (directory / "report.html").read_text().startswith("<!doctype html>")
    assert list((directory / "tensorboard").glob("events.out.tfevents.*"))
    printed = capsys.readouterr().out
    assert "held-out tasks after step 3" in printed
    assert str(directory / "report.html") in printed


@pytest.mark.parametrize("pack", [pytest.param(False, marks=pytest.mark.slow), True])
def test_decoder_only_student(tiny_run, pack):
    model = DecoderOnlyConfig(
        vocab_size=264, embed_dim=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_dim=32,
        num_layers=2,
    )  # fmt: skip
    run = tiny_run(
        model=model,
        data=dataclasses.replace(tiny_run().data, pack=pack),
        mesh=MeshShape(data=2, fsdp=2, tensor=2),
        evaluation=EvaluationConfig(tasks=["addition_direct"], num_examples=4, batch_size=4),
        log_period_steps=1,
    )
    run_training(run, TEXT)
    losses = _losses(run)
    assert losses[6] < losses[1]
    predictions = Path(run.model_dir, "eval/addition_direct/step_6.jsonl").read_text()
    assert len(predictions.splitlines()) == 4


def _saved_params(run):
    return load_params(open_pretrained(run.model_dir), run.model)


def test_initial_checkpoint_gives_parameters_only(tiny_run):
    first = tiny_run("first")
    run_training(first, TEXT)
    second = tiny_run("second", initial_checkpoint_path=first.model_dir, train_steps=1)
    second = dataclasses.replace(second, optimizer=AdamW(learning_rate=Constant(0.0)))
    run_training(second, TEXT)
    jax.tree.map(
        np.testing.assert_array_equal,
        _saved_params(second),
        _saved_params(first),
    )
    assert int(_final_state(second).state.step) == 1


def _exploding(tiny_run, **fields):
    return tiny_run(
        optimizer=AdamW(learning_rate=Constant(1e30), clip_global_norm=None),
        log_period_steps=1,
        **fields,
    )


def test_non_finite_loss_stops_and_names_examples(tiny_run):
    with pytest.raises(UserError) as caught:
        run_training(_exploding(tiny_run, on_non_finite="stop"), TEXT)
    message = str(caught.value)
    assert "the update was not applied; examples: addition-0-train-" in message
    assert "ON_NON_FINITE='skip'" in message
    assert "\n" not in message


def test_non_finite_loss_is_skipped_when_asked(tiny_run, capsys):
    run = _exploding(tiny_run, on_non_finite="skip")
    assert run_training(run, TEXT) == 6
    assert "the update was not applied; examples: addition-0-train-" in capsys.readouterr().out
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(_saved_params(run)))


FAULTS = {
    "unknown task": (
        {"mixture_or_task_name": "addition_dirct"},
        "no task or mixture named 'addition_dirct'. Did you mean 'addition_direct'?",
    ),
    "batch": (
        {"batch_size": 12},
        "BATCH_SIZE 12 does not divide by 8 = 8 devices of the data and fsdp axes x 1",
    ),
    "micro-batches": (
        {"micro_batches": 2},
        "BATCH_SIZE 8 does not divide by 16 = 8 devices of the data and fsdp axes x 2 "
        "micro-batches; use 16",
    ),
    "missing length": (
        {"feature_lengths": {"inputs": 32}},
        "no feature length for 'targets' of 'addition_direct'",
    ),
    "length of zero": (
        {"feature_lengths": {"inputs": 32, "targets": 0}},
        "gives 'targets' the length 0; expected at least 1",
    ),
    "partitions": (
        {"mesh": MeshShape(data=4, fsdp=4)},
        "has 16 partitions, but there are only 8 devices",
    ),
    "initial checkpoint": (
        {"initial_checkpoint_path": "nowhere"},
        "no model at nowhere: there is no such file or directory",
    ),
    "split": ({"data": DataConfig(split="trian")}, "Did you mean 'train'?"),
    "modules": (
        {"data": DataConfig(modules=["no_such_tasks"])},
        "cannot import module 'no_such_tasks'",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_one_line_before_training_starts(tiny_run, name):
    fields, message = FAULTS[name]
    with pytest.raises(UserError) as caught:
        run_training(tiny_run(**fields), TEXT)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vocabulary_larger_than_embedding(tiny_run):
    model = dataclasses.replace(tiny_run().model, vocab_size=100)
    with pytest.raises(UserError, match=r"vocabulary has 259 ids but .* embedding only 100 rows"):
        run_training(tiny_run(model=model), TEXT)


def test_truncation_is_reported(tiny_run, capsys):
    run_training(tiny_run(feature_lengths={"inputs": 4, "targets": 32}, train_steps=2), TEXT)
    printed = capsys.readouterr().out
    assert "note: 16 examples (100.0%) were cut to 4 inputs tokens" in printed


def test_changed_model_size_on_resume(tiny_run):
    run_training(tiny_run(train_steps=1), TEXT)
    larger = dataclasses.replace(tiny_run().model, mlp_dim=64)
    with pytest.raises(UserError) as caught:
        run_training(tiny_run(model=larger), TEXT)
    message = str(caught.value)
    assert "mlp" in message
    assert "32" in message
    assert "64" in message


def test_changed_data_on_resume(tiny_run):
    run_training(tiny_run(train_steps=1), TEXT)
    with pytest.raises(UserError, match="seed was 0 in the checkpoint and is 1 now"):
        run_training(tiny_run(seed=1), TEXT)


def test_initial_checkpoint_of_another_model(tiny_run):
    run_training(tiny_run("first", train_steps=1), TEXT)
    larger = dataclasses.replace(tiny_run().model, mlp_dim=64)
    run = tiny_run("second", model=larger, initial_checkpoint_path=tiny_run("first").model_dir)
    with pytest.raises(UserError, match=r"mlp/wi_0/kernel.*32.*64|mlp/wi_0/kernel.*64.*32"):
        run_training(run, TEXT)


def test_corrupt_checkpoint_falls_back_to_the_one_before(tiny_run, capsys):
    run = tiny_run(train_steps=4, checkpoints=CheckpointConfig(period_steps=2))
    run_training(run, TEXT)
    state = Path(run.model_dir, "checkpoints/4/state")
    largest = max(state.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])
    capsys.readouterr()
    assert run_training(dataclasses.replace(run, train_steps=5), TEXT) == 5
    printed = capsys.readouterr().out
    assert "checkpoint 4 is damaged" in printed
    assert "going on from checkpoint 2" in printed
