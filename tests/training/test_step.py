"""The train step: one division, whatever the micro-batches; nothing applied when non-finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlm_jax.losses.reduction import LossOutput, WeightedSum
from tlm_jax.optim import optimizers
from tlm_jax.optim.schedules import Constant
from tlm_jax.training.state import TrainState, initial_state
from tlm_jax.training.step import make_train_step

WARMING = Constant(0.01, warmup_steps=10)


def _objective(params, batch, dropout_rng):
    """Weighted squared error of a linear model; ignores dropout."""
    residual = batch["x"] @ params["w"] - batch["y"]
    total = jnp.sum(batch["weight"] * residual**2)
    weight = jnp.sum(batch["weight"])
    return LossOutput(WeightedSum(total, weight), {"error": WeightedSum(total, weight)})


def _batch(rows=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x": jnp.asarray(rng.normal(size=(rows, 3)), jnp.float32),
        "y": jnp.asarray(rng.normal(size=rows), jnp.float32),
        "weight": jnp.asarray(rng.uniform(size=rows), jnp.float32),
    }


def _state(optimizer) -> TrainState:
    return initial_state(lambda rng: {"w": jnp.array([1.0, -2.0, 0.5])}, optimizer, seed=0)


def test_gradient_is_of_the_weighted_mean():
    optimizer = optax.sgd(0.1)
    batch = _batch()
    state = _state(optimizer)
    step = make_train_step(_objective, optimizer, optax.constant_schedule(0.1))
    new, metrics = jax.jit(step)(state, batch)

    x, y, weight = (np.asarray(batch[k], np.float64) for k in ("x", "y", "weight"))
    w = np.array([1.0, -2.0, 0.5])
    gradient = 2 * x.T @ (weight * (x @ w - y)) / weight.sum()
    np.testing.assert_allclose(new.params["w"], w - 0.1 * gradient, rtol=1e-6)
    np.testing.assert_allclose(
        metrics.scalars["gradient_norm"], np.linalg.norm(gradient), rtol=1e-6
    )
    assert int(new.step) == 1
    assert float(metrics.scalars["learning_rate"]) == pytest.approx(0.1)


@pytest.mark.parametrize("micro_batches", [2, 4, 8])
def test_micro_batches_change_nothing(micro_batches):
    optimizer = optax.sgd(0.1)
    schedule = optax.constant_schedule(0.1)
    whole, whole_metrics = jax.jit(make_train_step(_objective, optimizer, schedule))(
        _state(optimizer), _batch()
    )
    parts, parts_metrics = jax.jit(
        make_train_step(_objective, optimizer, schedule, micro_batches=micro_batches)
    )(_state(optimizer), _batch())
    np.testing.assert_allclose(parts.params["w"], whole.params["w"], rtol=1e-6)
    for name, value in whole_metrics.sums.items():
        np.testing.assert_allclose(parts_metrics.sums[name].total, value.total, rtol=1e-6)
        np.testing.assert_allclose(parts_metrics.sums[name].weight, value.weight, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_step_applies_nothing(bad):
    optimizer = optax.adam(0.1)
    state = _state(optimizer)
    batch = dict(_batch())
    batch["y"] = batch["y"].at[3].set(bad)
    step = make_train_step(_objective, optimizer, optax.constant_schedule(0.1))
    new, metrics = jax.jit(step)(state, batch)
    assert not bool(metrics.finite)
    assert int(new.step) == 1
    for after, before in zip(
        jax.tree.leaves((new.params, new.opt_state)),
        jax.tree.leaves((state.params, state.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_step_in_which_nothing_counts_applies_nothing(micro_batches):
    optimizer = optax.adamw(0.1)  # whose momentum and decay would go on
    schedule = optax.constant_schedule(0.1)
    step = jax.jit(make_train_step(_objective, optimizer, schedule, micro_batches=micro_batches))
    state, _ = step(_state(optimizer), _batch())
    nothing = dict(_batch(), weight=jnp.zeros(8))
    new, metrics = step(state, nothing)
    assert (bool(metrics.finite), float(metrics.sums["loss"].weight)) == (True, 0.0)
    assert int(new.step) == 2
    for after, before in zip(
        jax.tree.leaves((new.params, new.opt_state)),
        jax.tree.leaves((state.params, state.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    "config",
    [
        optimizers.AdamW(WARMING),
        optimizers.Adafactor(WARMING),
        optimizers.Muon(WARMING),
    ],
    ids=lambda config: type(config).__name__,
)
def test_reported_learning_rate_is_the_one_applied_after_a_skipped_step(config):
    """By hand: three steps of which the second is skipped use a(0), nothing, a(1)."""
    optimizer = optimizers.make_optimizer(config, {"w": ("embed",)})
    step = jax.jit(make_train_step(_objective, optimizer, config.learning_rate))
    good, bad = _batch(), _batch()
    bad["y"] = bad["y"].at[0].set(np.nan)
    state, reported = _state(optimizer), []
    for batch in (good, bad, good):
        state, metrics = step(state, batch)
        reported.append(float(metrics.scalars["learning_rate"]))
    assert int(state.step) == 3
    assert int(optimizers.updates_applied(state.opt_state)) == 2
    assert reported[2] == pytest.approx(float(config.learning_rate(1)))
    assert reported[2] != pytest.approx(float(config.learning_rate(2)))


def test_micro_batches_draw_masks_of_their_own():
    def draws(params, batch, dropout_rng):
        drawn = jax.random.uniform(dropout_rng, ())
        rows = jnp.float32(len(batch["x"]))
        squared = WeightedSum(drawn**2, jnp.float32(1))
        total = WeightedSum(drawn + 0 * params["w"].sum(), rows)
        return LossOutput(total, {"drawn": WeightedSum(drawn, rows / rows), "squared": squared})

    optimizer = optax.sgd(0.1)
    schedule = optax.constant_schedule(0.1)
    step = make_train_step(draws, optimizer, schedule, micro_batches=2)
    _, metrics = jax.jit(step)(_state(optimizer), _batch())
    mean, mean_of_squares = (float(metrics.sums[k].mean()) for k in ("drawn", "squared"))
    assert mean_of_squares - mean**2 > 1e-3  # two numbers, not one twice


def test_batch_of_padding_only_changes_nothing_under_sgd():
    optimizer = optax.sgd(0.1)
    batch = _batch() | {"weight": jnp.zeros(8)}
    step = make_train_step(_objective, optimizer, optax.constant_schedule(0.1))
    new, metrics = jax.jit(step)(_state(optimizer), batch)
    assert bool(metrics.finite)
    np.testing.assert_array_equal(new.params["w"], [1.0, -2.0, 0.5])


def test_frozen_part_is_seen_and_not_trained():
    optimizer = optax.sgd(0.1)
    schedule = optax.constant_schedule(0.1)
    frozen = jnp.array([10.0, 0.0, 0.0])

    def whole(frozen, trained):
        return {"w": frozen + trained["w"]}

    step = jax.jit(make_train_step(_objective, optimizer, schedule, micro_batches=2, whole=whole))
    state = TrainState._replace(_state(optimizer), params={"w": jnp.array([-9.0, -2.0, 0.5])})
    new, metrics = step(state, _batch(), frozen)
    plain = jax.jit(make_train_step(_objective, optimizer, schedule))
    expected, expected_metrics = plain(_state(optimizer), _batch())
    np.testing.assert_allclose(new.params["w"] + frozen, expected.params["w"], rtol=1e-5)
    np.testing.assert_allclose(
        metrics.scalars["gradient_norm"], expected_metrics.scalars["gradient_norm"], rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics.scalars["parameter_norm"], np.linalg.norm(new.params["w"]), rtol=1e-6
    )
