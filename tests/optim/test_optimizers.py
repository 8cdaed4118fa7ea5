"""Every optimizer updates, clips and decays what it should, and names the axes of its state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from tlm_jax.errors import UserError
from tlm_jax.optim.optimizers import (
    Adafactor,
    Adam,
    AdamW,
    Lion,
    Muon,
    decay_mask,
    make_optimizer,
    state_logical_axes,
)
from tlm_jax.optim.schedules import Constant, Linear
from tlm_jax.sharding.rules import is_logical_axes, named_shardings

AXES = {
    "decoder": {
        "attention": {"query": {"kernel": ("embed", "layers", "heads", "kv")}},
        "mlp": {"wo": {"kernel": ("mlp", "embed"), "bias": ("embed",)}},
        "norm": {"scale": ("embed", "layers")},
        "relpos_bias": {"rel_embedding": ("heads", "relpos_buckets")},
    },
    "token_embedder": {"embedding": ("vocab", "embed")},
}
SIZES = {"embed": 16, "layers": 3, "heads": 4, "kv": 8, "mlp": 32, "relpos_buckets": 8, "vocab": 64}
CONFIGS = [
    Adafactor(Constant(0.1), min_dim_size_to_factor=16),
    Adafactor(Constant(0.1), min_dim_size_to_factor=16, beta1=0.9, clip_global_norm=1.0),
    Adafactor(Constant(0.1), weight_decay=0.01),
    AdamW(Constant(0.1)),
    Adam(Linear(0.1, 10)),
    Lion(Constant(0.1)),
    Muon(Constant(0.1)),
]


def random_params(seed):
    leaves, structure = jax.tree.flatten(AXES, is_leaf=is_logical_axes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    arrays = [
        jax.random.normal(key, tuple(SIZES[axis] for axis in axes))
        for key, axes in zip(keys, leaves)
    ]
    return jax.tree.unflatten(structure, arrays)


def step(config, params, gradient, times=1):
    optimizer = make_optimizer(config, AXES)
    state = optimizer.init(params)
    for _ in range(times):
        updates, state = jax.jit(optimizer.update)(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_step_goes_against_the_gradient_everywhere(config):
    params = random_params(0)
    gradient = jax.tree.map(jnp.sign, params)  # of the sum of absolute values
    after = step(config, params, gradient)
    for before, now in zip(jax.tree.leaves(params), jax.tree.leaves(after)):
        assert np.isfinite(now).all()
        assert float(jnp.abs(now).sum()) < float(jnp.abs(before).sum())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_zero_gradients_give_finite_parameters(config):
    params = random_params(0)
    after = step(config, params, jax.tree.map(jnp.zeros_like, params), times=2)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


def test_adamw_matches_torch(shared_dir):
    reference = np.load(shared_dir / "fixtures/hf/optimizers/reference.npz")
    axes = {"W": ("embed", "mlp"), "b": ("mlp",)}
    config = AdamW(Constant(1e-2), clip_global_norm=None, weight_decay=0.1, no_decay=())
    optimizer = make_optimizer(config, axes)
    params = {name: jnp.asarray(reference[f"{name}0"]) for name in axes}
    state = optimizer.init(params)
    for i in range(6):
        gradient = {name: jnp.asarray(reference[f"g{name}"][i]) for name in axes}
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for name in axes:
            np.testing.assert_allclose(params[name], reference[f"adamw/{name}"][i], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fixedlr", {"multiply_by_parameter_scale": False}),
        ("scaleparam", {}),
        ("beta1_0.9", {"beta1": 0.9}),
    ],
)
def test_adafactor_matches_transformers(shared_dir, name, options):
    reference = np.load(shared_dir / "fixtures/hf/optimizers/reference.npz")
    axes = {"W": ("embed", "mlp"), "b": ("mlp",)}
    optimizer = make_optimizer(Adafactor(Constant(1e-2), min_dim_size_to_factor=1, **options), axes)
    params = {leaf: jnp.asarray(reference[f"{leaf}0"]) for leaf in axes}
    state = optimizer.init(params)
    for i in range(6):
        gradient = {leaf: jnp.asarray(reference[f"g{leaf}"][i]) for leaf in axes}
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for leaf in axes:
            expected = reference[f"adafactor_hf_{name}/{leaf}"][i]
            np.testing.assert_allclose(params[leaf], expected, atol=1e-6, err_msg=leaf)


def test_clipping_bounds_the_global_norm():
    params = random_params(0)
    gradient = random_params(1)
    scaled = jax.tree.map(lambda g: g / optax.global_norm(gradient), gradient)
    config = Lion(Constant(0.1), clip_global_norm=1.0)
    optimizer = make_optimizer(config, AXES)
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    _, expected = optimizer.update(scaled, optimizer.init(params), params)
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", [Adafactor, AdamW, Lion, Muon])
def test_decay_spares_norms_biases_and_position_biases(kind):
    params = random_params(0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    after = step(kind(Constant(0.5), weight_decay=0.1), params, zeros)
    share = 0.1 if kind is Adafactor else 0.05
    kernel, decayed = params["decoder"]["mlp"]["wo"], after["decoder"]["mlp"]["wo"]
    np.testing.assert_allclose(decayed["kernel"], (1 - share) * kernel["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(decayed["bias"], kernel["bias"])
    for name, leaf in (("norm", "scale"), ("relpos_bias", "rel_embedding")):
        np.testing.assert_array_equal(after["decoder"][name][leaf], params["decoder"][name][leaf])


def test_adafactor_decay_can_follow_the_learning_rate():
    params = random_params(0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    config = Adafactor(Constant(0.5), weight_decay=0.1, weight_decay_lr_exponent=2.0)
    after = step(config, params, zeros)
    np.testing.assert_allclose(
        after["token_embedder"]["embedding"],
        (1 - 0.1 * 0.25) * params["token_embedder"]["embedding"],
        rtol=1e-5,
    )


def test_muon_orthogonalises_the_stacked_kernels_only():
    params, gradient = random_params(0), random_params(1)
    config = Muon(Constant(1.0), clip_global_norm=None, weight_decay=0.0, consistent_rms=None)
    after = step(config, params, gradient)
    change = jax.tree.map(jnp.subtract, params, after)
    for layer in range(3):
        kernel = change["decoder"]["attention"]["query"]["kernel"][:, layer].reshape(16, 32)
        singular = np.linalg.svd(np.asarray(kernel), compute_uv=False)
        assert singular.min() > 0.5  # five Newton-Schulz steps bring them near 1 alike
        assert singular.max() / singular.min() < 2.5
    embedding = change["token_embedder"]["embedding"]
    size = np.abs(embedding)  # Adam's first step is as long for every element
    np.testing.assert_allclose(size, size.mean(), rtol=1e-2)


def test_a_broken_pattern_is_named():
    with pytest.raises(UserError, match=r"no_decay pattern '\(' is no regular expression"):
        decay_mask(("(",))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_state_axes_fit_the_state_and_shard_it(config):
    params = random_params(0)
    state = jax.eval_shape(make_optimizer(config, AXES).init, params)
    axes = state_logical_axes(config, params, AXES)

    def check(names, leaf):
        assert len(names) == leaf.ndim
        assert all(n is None or SIZES[n] == size for n, size in zip(names, leaf.shape))
        assert None not in names or leaf.shape == (3,)  # Muon's coefficients

    jax.tree.map(check, axes, state, is_leaf=is_logical_axes)
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(2, 2, 2), ("data", "fsdp", "tensor"))
    shardings = named_shardings(axes, mesh, shapes=state)
    assert jax.tree.structure(shardings) == jax.tree.structure(state)
    kinds = {str(s.spec) for s in jax.tree.leaves(shardings)}
    assert any("tensor" in kind for kind in kinds)
