"""Adafactor against NumPy; against T5X it is checked by tests of the agreement checker."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlm_jax.optim.adafactor import adafactor
from tlm_jax.optim.schedules import Constant

SHAPES = {"kernel": (20, 3, 4, 6), "embedding": (40, 20), "scale": (20, 3), "small": (5,)}
AXES = {
    "kernel": ("embed", "layers", "heads", "kv"),
    "embedding": ("vocab", "embed"),
    "scale": ("embed", "layers"),
    "small": ("embed",),
}


def random_tree(seed):
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    return {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, SHAPES.items())}


def numpy_steps(param, gradients, rows, columns, batch, *, rate, beta1=None):
    """Three-line Adafactor in float64; rows, columns and batch are dimensions."""
    matrix = tuple(d for d in range(param.ndim) if d not in batch)
    x, v_row, v_col, v, m = np.asarray(param, np.float64), 0.0, 0.0, 0.0, 0.0
    for i, g in enumerate(np.asarray(gradients, np.float64)):
        decay = 1 - (i + 1) ** -0.8
        squared = g**2 + 1e-30
        if rows:
            v_row = decay * v_row + (1 - decay) * squared.mean(columns, keepdims=True)
            v_col = decay * v_col + (1 - decay) * squared.mean(rows, keepdims=True)
            u = g / np.sqrt(v_row * v_col / v_row.mean(rows, keepdims=True))
        else:
            v = decay * v + (1 - decay) * squared
            u = g / np.sqrt(v)
        u /= np.maximum(1.0, np.sqrt((u**2).mean(matrix, keepdims=True)))
        u *= rate * np.maximum(np.sqrt((x**2).mean(matrix, keepdims=True)), 1e-3)
        m = u if beta1 is None else beta1 * m + (1 - beta1) * u
        x = x - m
    return x


def run(params, gradients, **options):
    optimizer = adafactor(Constant(0.1), AXES, min_dim_size_to_factor=16, **options)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("beta1", [None, 0.9])
def test_three_steps_match_numpy(beta1):
    params, gradients = random_tree(0), [random_tree(seed) for seed in (1, 2, 3)]
    got, state = run(params, gradients, beta1=beta1)
    dims = {
        "kernel": ((0,), (2, 3), (1,)),
        "embedding": ((1,), (0,), ()),
        "scale": ((), (), (1,)),
        "small": ((), (), ()),
    }
    for name, roles in dims.items():
        stacked = np.stack([gradient[name] for gradient in gradients])
        expected = numpy_steps(params[name], stacked, *roles, rate=0.1, beta1=beta1)
        np.testing.assert_allclose(got[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert int(state.step) == 3
    shapes = jax.tree.map(lambda x: x.shape, state.slots)
    momentum = {} if beta1 is None else {"m": (20, 3, 4, 6)}
    assert shapes["kernel"] == {"v_row": (20, 3), "v_col": (3, 4, 6)} | momentum
    assert "v" in shapes["scale"]


def test_layers_of_a_stack_update_as_they_would_alone():
    params, gradients = random_tree(0), [random_tree(seed) for seed in (1, 2)]
    stacked, _ = run(params, gradients)

    def layer(tree):
        return {"kernel": tree["kernel"][:, 1:2]}

    optimizer = adafactor(Constant(0.1), {"kernel": AXES["kernel"]})
    alone = layer(params)
    state = optimizer.init(alone)
    for gradient in gradients:
        updates, state = optimizer.update(layer(gradient), state, alone)
        alone = optax.apply_updates(alone, updates)
    np.testing.assert_allclose(stacked["kernel"][:, 1:2], alone["kernel"], rtol=1e-5, atol=1e-7)


def test_zero_gradients_and_zero_parameters_stay_finite():
    zeros = jax.tree.map(jnp.zeros_like, random_tree(0))
    params, state = run(zeros, [zeros, zeros])
    assert all(not np.asarray(p).any() for p in jax.tree.leaves(params))
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(state))


def test_step_offset_forgets_the_second_moment():
    params, gradient = random_tree(0), random_tree(1)
    optimizer = adafactor(Constant(0.1), AXES, min_dim_size_to_factor=16, step_offset=7)
    state = optimizer.init(params)
    stale = jax.tree.map(lambda x: x + 5.0, state.slots)
    fresh, _ = run(params, [gradient])
    updates, _ = optimizer.update(gradient, state._replace(step=jnp.int32(7), slots=stale), params)
    np.testing.assert_allclose(
        optax.apply_updates(params, updates)["kernel"], fresh["kernel"], rtol=1e-6
    )


def test_bfloat16_parameters_get_bfloat16_updates_and_float32_slots():
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), random_tree(0))
    params, state = run(low, [jax.tree.map(lambda x: x.astype(jnp.bfloat16), random_tree(1))])
    assert all(p.dtype == jnp.bfloat16 for p in jax.tree.leaves(params))
    assert all(s.dtype == jnp.float32 for s in jax.tree.leaves(state.slots))
