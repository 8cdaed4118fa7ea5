"""A run that trains adapters: the base stays as it is, and only adapters are saved."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.metrics.writers import read_metrics
from tlm_jax.models import lora
from tlm_jax.models.lora import LoraConfig
from tlm_jax.runs.training import adapters, data, parts
from tlm_jax.runs.training.config import EvaluationConfig
from tlm_jax.runs.training.frozen_base import load_base
from tlm_jax.runs.training.session import run_training
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.training import batches

TEXT = "# what config.gin will hold\n"
LORA = LoraConfig(rank=2, targets="(query|value|wo)$")
NF4 = dataclasses.replace(LORA, quantization="nf4")


@pytest.fixture
def base_run(tiny_run):
    """A finished run of two steps, whose parameters are the base of others."""
    run = tiny_run("base", train_steps=2)
    run_training(run, TEXT)
    return run


def _saved(run):
    manager = CheckpointManager(
        Path(run.model_dir, "checkpoints"), base=load_base(run, parts.build_parts(run)).identity
    )
    restored = manager.restore(parts.build_parts(run).abstract_state)
    manager.close()
    assert restored is not None
    return restored[1].state


def _losses(run):
    rows = read_metrics(Path(run.model_dir, "metrics.jsonl"))
    return [row["loss"] for row in rows if row["split"] == "train"]


@pytest.mark.parametrize("settings", [LORA, NF4], ids=["float", "nf4"])
def test_steps_leave_every_bit_of_the_base(tiny_run, settings):
    run = tiny_run(lora=settings)
    built = parts.build_parts(run)
    base = load_base(run, built)
    before = jax.tree.map(np.array, base.params)
    rows = batches.host_rows(run.batch_size, built.batch_sharding)
    state = built.initial_state(run.seed)
    start = jax.tree.map(np.array, state.params)
    with data.open_pipeline(run, rows) as pipeline:
        for _ in range(4):
            arrays = batches.to_global(next(pipeline).arrays, built.batch_sharding, rows)
            state, _ = built.train_step(state, arrays, base.params)
    jax.tree.map(np.testing.assert_array_equal, base.params, before)
    moved = jax.tree.map(lambda new, old: bool((np.asarray(new) != old).any()), state.params, start)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("settings", [LORA, NF4], ids=["float", "nf4"])
def test_only_adapters_have_optimizer_state_and_are_saved(tiny_run, base_run, settings):
    run = tiny_run(lora=settings, initial_checkpoint_path=base_run.model_dir)
    run_training(run, TEXT)
    manifest = json.loads(Path(run.model_dir, "checkpoints", "6", "manifest.json").read_text())
    names = set(manifest["arrays"])
    expected = trees.flatten(lora.init_adapters(jax.random.key(0), run.model, settings))
    assert {name for name in names if name.startswith("params/")} == {
        f"params/{name}" for name in expected
    }
    others = {re.sub(r"^opt_state/[01/]*(mu|nu)/", "", name) for name in names}
    assert {name for name in others if "/" in name and not name.startswith("params/")} <= set(
        expected
    ) | {"opt_state/1/0/count", "opt_state/1/2/count"}
    assert manifest["base"]["origin"] == base_run.model_dir
    assert manifest["base"]["lora"]["rank"] == 2


@pytest.mark.parametrize(
    "settings", [pytest.param(LORA, marks=pytest.mark.slow), NF4], ids=["float", "nf4"]
)
def test_continuing_is_bit_identical_to_never_stopping(tiny_run, base_run, settings):
    # Adapters of 2 dropped inputs in 10: their masks must go on too.
    settings = dataclasses.replace(settings, dropout_rate=0.2)
    path = base_run.model_dir
    whole = tiny_run("whole", lora=settings, initial_checkpoint_path=path)
    run_training(whole, TEXT)
    run = tiny_run("stopped", lora=settings, initial_checkpoint_path=path)
    for stop in (3, run.train_steps):
        run_training(dataclasses.replace(run, train_steps=stop), TEXT)
    jax.tree.map(np.testing.assert_array_equal, _saved(run), _saved(whole))
    assert _losses(run) == _losses(whole)


@pytest.mark.parametrize(
    "settings", [pytest.param(LORA, marks=pytest.mark.slow), NF4], ids=["float", "nf4"]
)
def test_every_mesh_gives_the_same_losses(tiny_run, base_run, settings):
    model = dataclasses.replace(tiny_run().model, dropout_rate=0.0)
    losses = {}
    for shape in ((8, 1, 1), (2, 2, 2)):
        run = tiny_run(
            str(shape),
            model=model,
            lora=settings,
            initial_checkpoint_path=base_run.model_dir,
            log_period_steps=1,
            mesh=MeshShape(*shape),
        )
        run_training(run, TEXT)
        losses[shape] = _losses(run)
    assert losses[8, 1, 1][-1] < losses[8, 1, 1][0]
    np.testing.assert_allclose(losses[2, 2, 2], losses[8, 1, 1], atol=1e-5)


def test_another_mesh_goes_on_from_the_same_base(tiny_run, base_run):
    run = tiny_run(lora=NF4, initial_checkpoint_path=base_run.model_dir, train_steps=2)
    run_training(run, TEXT)
    other = dataclasses.replace(run, train_steps=3, mesh=MeshShape(2, 2, 2))
    assert run_training(other, TEXT) == 3


def test_evaluation_decodes_with_the_adapters(tiny_run, base_run, monkeypatch):
    seen = []
    from tlm_jax.evaluation import evaluator

    evaluate = evaluator.Evaluator.evaluate

    def spy(self, params, step):
        seen.append(params)
        return evaluate(self, params, step)

    monkeypatch.setattr(evaluator.Evaluator, "evaluate", spy)
    run = tiny_run(
        lora=LORA,
        initial_checkpoint_path=base_run.model_dir,
        train_steps=3,
        evaluation=EvaluationConfig(
            tasks=["addition_direct"], period_steps=3, num_examples=8, batch_size=8
        ),
    )
    run_training(run, TEXT)
    (params,) = seen
    base = load_base(run, parts.build_parts(run)).params
    merged = lora.merge(base, _saved(run).params, LORA)
    tokens = jnp.ones((8, 4), jnp.int32)
    batch = dict.fromkeys(
        ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens"), tokens
    )
    np.testing.assert_allclose(
        models.logits(params, batch, run.model), models.logits(merged, batch, run.model), atol=1e-5
    )


def test_start_tells_what_is_trained_and_what_it_takes(tiny_run, capsys):
    run = tiny_run(lora=NF4, train_steps=1, mesh=MeshShape(1, 8, 1))
    run_training(run, TEXT)
    out = capsys.readouterr().out
    trained = sum(
        leaf.size for leaf in jax.tree.leaves(lora.init_adapters(jax.random.key(0), run.model, NF4))
    )
    total = models.num_params(run.model) + trained
    assert "new adapters on new parameters from seed 0" in out
    assert f"rank 2 on 8 of 18 projections: {trained:,} of {total:,} parameters are trained" in out
    assert re.search(r"on each device base \(nf4\) [\d.]+ MB, adapters [\d.]+ MB, optimizer", out)


def test_flops_of_frozen_kernels_are_two_thirds(tiny_run):
    run = tiny_run()
    tokens = jax.ShapeDtypeStruct((2, 8), jnp.int32)
    longer = jax.ShapeDtypeStruct((2, 16), jnp.int32)
    batch = {"encoder_input_tokens": longer, "decoder_target_tokens": tokens}
    full = models.train_flops(run.model, batch)
    assert adapters.train_flops(run, batch) == full
    tiny = dataclasses.replace(run, lora=LoraConfig(rank=1, targets="decoder.*/wo$"))
    # Tokens seen times size: 32 in the encoder, 16 in the decoder; keys and values of
    # cross-attention see the encoder's.
    D, F, V = 16, 32, 264
    encoder = 32 * (4 * D * D + 3 * D * F)
    decoder = 16 * (4 * D * D + 3 * D * F + 2 * D * D) + 32 * 2 * D * D
    adapter = 16 * (F + D)
    expected = full - 2 * (encoder + decoder + 16 * D * V) + 6 * adapter
    assert adapters.train_flops(tiny, batch) == expected


@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_opened_as_a_model_it_is_the_merged_one(tiny_run, base_run, quantization):
    settings = dataclasses.replace(LORA, quantization=quantization, base_dtype="bfloat16")
    run = tiny_run(lora=settings, initial_checkpoint_path=base_run.model_dir, train_steps=2)
    run_training(run, TEXT)
    opened = load_params(open_pretrained(run.model_dir), run.model)
    base = load_base(run, parts.build_parts(run)).params
    merged = lora.merge(base, _saved(run).params, settings)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), opened, merged)


def test_adapters_without_their_base_are_no_model(tiny_run):
    run = tiny_run(lora=LORA, train_steps=1)
    run_training(run, TEXT)
    with pytest.raises(UserError, match="holds adapters alone, on new parameters from seed 0"):
        open_pretrained(run.model_dir)


def test_adapters_are_handed_over_and_taken_up_again(tiny_run, base_run, capsys):
    path = base_run.model_dir
    run = tiny_run(lora=LORA, initial_checkpoint_path=path, train_steps=2)
    run_training(run, TEXT)
    handed_over = str(Path(run.model_dir, "adapter"))
    built = parts.build_parts(run)
    again = dataclasses.replace(run, lora=dataclasses.replace(LORA, initial_path=handed_over))
    fresh = built.initial_state(again.seed).params
    taken_up, phrase = adapters.initial_adapters(again, load_base(again, built), fresh)
    jax.tree.map(np.testing.assert_array_equal, taken_up, _saved(run).params)
    assert phrase == f"adapters of {handed_over} on {path}"
    wrong = dataclasses.replace(again, lora=dataclasses.replace(again.lora, alpha=1.0))
    with pytest.raises(UserError, match=r"have rank 2, alpha 16, .* but LoraConfig has .* alpha 1"):
        adapters.initial_adapters(wrong, load_base(wrong, built), fresh)


def test_other_base_is_refused(tiny_run, base_run):
    run = tiny_run(lora=LORA, initial_checkpoint_path=base_run.model_dir, train_steps=1)
    run_training(run, TEXT)
    other = tiny_run("other", train_steps=3)
    run_training(other, TEXT)
    moved = dataclasses.replace(run, initial_checkpoint_path=other.model_dir, train_steps=2)
    with pytest.raises(UserError, match="has other parameters") as error:
        run_training(moved, TEXT)
    assert base_run.model_dir in str(error.value)
    assert other.model_dir in str(error.value)


def test_other_settings_are_refused(tiny_run):
    run_training(tiny_run(lora=LORA, train_steps=1), TEXT)
    for settings, message in (
        (dataclasses.replace(LORA, rank=4), "has adapters with rank 2, this run has 4"),
        (dataclasses.replace(LORA, alpha=1.0), "has adapters with alpha 16.0, this run has 1.0"),
        (NF4, "has adapters with quantization None, this run has 'nf4'"),
        (None, "holds adapters on the model .*, but this run trains all parameters"),
    ):
        with pytest.raises(UserError, match=message):
            run_training(tiny_run(lora=settings, train_steps=2), TEXT)


def test_adapters_do_not_go_on_from_a_full_checkpoint(tiny_run, base_run):
    with pytest.raises(UserError, match="holds all parameters of a model, but this run trains"):
        run_training(dataclasses.replace(base_run, lora=LORA, train_steps=3), TEXT)
