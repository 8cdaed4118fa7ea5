"""Adapters change what they should, as the formula says, and leave the base alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.errors import UserError
from tlm_jax.models import lora, nf4
from tlm_jax.models.lora import LoraConfig
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

ALL = LoraConfig(rank=3, alpha=6.0, targets=".")
FAMILIES = ["t5", "llama", "gptj", "opt_350m", "gemma3"]


@pytest.fixture
def adapted(kind, noisy_params, tokens):
    """Returns a function that gives a model's config, base, adapters that do something, a batch."""

    def make(family="llama", settings=ALL, **fields):
        config = dataclasses.replace(kind(family), **fields)
        # T5 does not divide attention logits by √H; with the noise of `noisy_params` its attention
        # is so sharp that the order of float32 sums alone moves logits by 1e-5.
        initial = models.init(jax.random.key(6), config)
        floats = initial if family == "t5" else noisy_params(config)
        base = trees.map_named(lambda name, x: lora.freeze(config, settings, name, x), floats)
        fresh = lora.init_adapters(jax.random.key(7), config, settings)
        noise = jax.random.normal(jax.random.key(8), (4096,)) * 0.03
        adapters = jax.tree.map(lambda x: x + noise[: x.size].reshape(x.shape), fresh)
        batch = {
            "encoder_input_tokens": tokens(8, 7),
            "decoder_input_tokens": tokens(8, 6, seed=1),
            "decoder_target_tokens": tokens(8, 6, seed=2),
        }
        return config, base, adapters, batch

    return make


def test_formula_by_hand(adapted):
    settings = LoraConfig(rank=2, alpha=3.0, targets="mlp/wo")
    config, base, adapters, batch = adapted("llama", settings, num_layers=1, scan_layers=False)
    (a,), (b,) = (
        [np.asarray(x) for name, x in trees.flatten(adapters).items() if name.endswith(end)]
        for end in ("lora_a", "lora_b")
    )
    assert (a.shape, b.shape) == ((config.mlp_dim, 2), (2, config.embed_dim))
    by_hand = trees.flatten(base)
    by_hand["decoder/layers_0/mlp/wo/kernel"] += 3.0 / 2 * a @ b
    np.testing.assert_allclose(
        models.logits(lora.attach(base, adapters, settings), batch, config),
        models.logits(trees.unflatten(by_hand), batch, config),
        atol=1e-5,
    )


@pytest.mark.parametrize("quantization", [None, "nf4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_equals_unmerged(adapted, family, quantization):
    settings = dataclasses.replace(ALL, quantization=quantization)
    config, base, adapters, batch = adapted(family, settings)
    unmerged = models.logits(lora.attach(base, adapters, settings), batch, config)
    merged = models.logits(lora.merge(base, adapters, settings), batch, config)
    np.testing.assert_allclose(unmerged, merged, atol=1e-5)
    untouched = models.logits(lora.attach(base, {}, settings), batch, config)
    assert float(jnp.abs(unmerged - untouched).max()) > 0.01


def test_new_adapters_change_nothing(adapted):
    config, base, _, batch = adapted()
    adapters = lora.init_adapters(jax.random.key(0), config, ALL)
    whole = lora.attach(base, adapters, ALL)
    np.testing.assert_array_equal(
        models.logits(whole, batch, config), models.logits(base, batch, config)
    )
    a = trees.flatten(adapters)["decoder/decoder/mlp/wo/lora_a"]
    bound = config.mlp_dim**-0.5
    assert 0.9 * bound < float(jnp.abs(a).max()) <= bound


@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_scanned_equals_unrolled(adapted, quantization):
    settings = dataclasses.replace(ALL, quantization=quantization)
    config, base, adapters, batch = adapted("gemma3", settings)
    unrolled = dataclasses.replace(config, scan_layers=False)

    def layers_apart(tree):
        flat = {}
        for name, leaf in trees.flatten(tree).items():
            if not name.startswith("decoder/decoder/"):
                flat[name] = leaf
                continue
            for layer in range(config.num_layers):
                rest = name.removeprefix("decoder/decoder/")
                one = jax.tree.map(lambda x, layer=layer: x[:, layer], leaf)
                flat[f"decoder/layers_{layer}/{rest}"] = one
        return trees.unflatten(flat)

    scanned = models.logits(lora.attach(base, adapters, settings), batch, config)
    apart = lora.attach(layers_apart(base), layers_apart(adapters), settings)
    np.testing.assert_allclose(scanned, models.logits(apart, batch, unrolled), atol=1e-5)


def test_gradients_are_those_of_the_merged_kernel(adapted):
    """dL/dA = scale · dL/dW Bᵀ and dL/dB = scale · Aᵀ dL/dW, with W the merged kernel."""
    config, base, adapters, batch = adapted("llama", ALL, num_layers=1, scan_layers=False)

    def loss(params):
        return jnp.sum(jnp.sin(models.logits(params, batch, config)))

    of_adapters = trees.flatten(jax.grad(lambda a: loss(lora.attach(base, a, ALL)))(adapters))
    of_kernels = trees.flatten(jax.grad(loss)(lora.merge(base, adapters, ALL)))
    flat = trees.flatten(adapters)
    for name in lora.targets(config, ALL):
        of_kernel = of_kernels[f"{name}/kernel"]
        a, b = flat[f"{name}/lora_a"], flat[f"{name}/lora_b"]
        size = float(jnp.abs(of_kernel).max())
        expected = ALL.scale * of_kernel @ b.T
        np.testing.assert_allclose(of_adapters[f"{name}/lora_a"], expected, atol=1e-5 * size)
        expected = ALL.scale * a.T @ of_kernel
        np.testing.assert_allclose(of_adapters[f"{name}/lora_b"], expected, atol=1e-5 * size)


@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_eight_devices_equal_one(adapted, quantization):
    settings = dataclasses.replace(ALL, quantization=quantization)
    config, base, adapters, batch = adapted("llama", settings, embed_dim=128, mlp_dim=256)

    def loss(adapters, base, batch):
        logits = models.logits(lora.attach(base, adapters, settings), batch, config)
        logprobs = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(logprobs, batch["decoder_target_tokens"][..., None], 2).mean()

    expected = jax.jit(jax.value_and_grad(loss))(adapters, base, batch)
    mesh = make_mesh(MeshShape(2, 2, 2))
    placed = jax.device_put(
        (adapters, base),
        (
            rules.named_shardings(lora.adapter_axes(config, settings), mesh, shapes=adapters),
            rules.named_shardings(lora.base_axes(config, settings), mesh, shapes=base),
        ),
    )
    rows = jax.device_put(batch, rules.batch_sharding(mesh))
    with rules.use_rules(mesh):
        got = jax.jit(jax.value_and_grad(loss))(*placed, rows)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), got, expected)
    kernel = trees.flatten(placed[1])["decoder/decoder/mlp/wo/kernel"]
    for leaf in jax.tree.leaves(kernel)[:1]:
        assert leaf.addressable_shards[0].data.size == leaf.size // 4


@pytest.mark.parametrize("quantization", [None, "nf4"])
@pytest.mark.parametrize("family", ["t5", "llama"])
def test_decoding_with_a_cache_equals_the_full_forward(adapted, family, quantization):
    settings = dataclasses.replace(ALL, quantization=quantization)
    config, base, adapters, batch = adapted(family, settings)
    whole = lora.attach(base, adapters, settings)
    text = jnp.maximum(batch["decoder_input_tokens"], 1)
    if family == "t5":
        text = text.at[:, 0].set(0)
    full = models.logits(
        whole, batch | {"decoder_input_tokens": text, "decoder_target_tokens": text}, config
    )
    start = 1 if family == "t5" else 2
    prompt = {
        "encoder_input_tokens": batch["encoder_input_tokens"],
        "decoder_input_tokens": text[:, :start],
    }
    cache, step = models.prefill(whole, prompt, config, max_decode_steps=4)
    for position in range(start, 6):
        cache, step = models.decode_step(whole, cache, text[:, position], config)
        if family == "llama":
            np.testing.assert_allclose(step, full[:, position], atol=1e-4)
    assert bool(jnp.isfinite(step).all())


def test_dropout_acts_on_adapters_in_training_only(adapted):
    settings = dataclasses.replace(ALL, dropout_rate=0.5)
    config, base, adapters, batch = adapted("llama", settings)
    whole = lora.attach(base, adapters, settings)

    def hidden(seed):
        rng = None if seed is None else jax.random.key(seed)
        return np.asarray(models.hidden_states(whole, batch, config, dropout_rng=rng))

    without = models.hidden_states(lora.attach(base, adapters, ALL), batch, config)
    np.testing.assert_array_equal(hidden(None), without)
    assert not np.allclose(hidden(0), hidden(1))
    np.testing.assert_array_equal(hidden(0), hidden(0))
    # Nothing is dropped from the base: adapters of zero show no dropout.
    zero = lora.attach(base, jax.tree.map(jnp.zeros_like, adapters), settings)
    rng = jax.random.key(0)
    np.testing.assert_array_equal(
        models.hidden_states(zero, batch, config, dropout_rng=rng),
        models.hidden_states(base, batch, config),
    )


def test_low_rank_input_keeps_its_mean_under_dropout():
    adapter = models.projections.LowRank(jnp.ones((64, 1)), jnp.ones((1, 1)), 0.5, 0.25)
    dropped = adapter(jnp.ones((4096, 64)), jax.random.key(0))
    np.testing.assert_allclose(dropped.mean(), 32.0, rtol=5e-3)
    # Each entry by itself: the variance of 64 draws, not of one.
    np.testing.assert_allclose(dropped.std(), 0.5 * np.sqrt(64 * 0.25 / 0.75), rtol=5e-2)


def test_only_projections_are_quantized(adapted):
    settings = LoraConfig(quantization="nf4", base_dtype="bfloat16")
    config, base, _, _ = adapted("opt_350m", settings)
    kinds = {name: type(leaf) for name, leaf in trees.flatten(base).items()}
    quantized = {name for name, kind in kinds.items() if kind is nf4.Nf4Kernel}
    assert quantized == {f"{name}/kernel" for name in lora.projections(config)}
    others = [leaf for leaf in trees.flatten(base).values() if not isinstance(leaf, nf4.Nf4Kernel)]
    assert {leaf.dtype for leaf in others} == {jnp.dtype("bfloat16")}


def test_pattern_chooses_layers_where_they_are_not_scanned(kind):
    config = dataclasses.replace(kind("llama"), scan_layers=False)
    settings = LoraConfig(targets=r"layers_1/.*(query|wo)$")
    assert lora.targets(config, settings) == [
        "decoder/layers_1/mlp/wo",
        "decoder/layers_1/self_attention/query",
    ]


def test_scale():
    assert LoraConfig(rank=16, alpha=8).scale == 0.5
    assert LoraConfig(rank=16, alpha=8, rank_stabilized=True).scale == 2.0


def test_pattern_that_matches_nothing_lists_the_projections(kind):
    with pytest.raises(UserError, match=r"'q_proj' is found in .* no projection.*decoder/mlp/wi_0"):
        lora.targets(kind("llama"), LoraConfig(targets="q_proj"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "LoraConfig.rank is 0, expected at least 1"),
        ({"dropout_rate": 1.0}, "dropout_rate is 1.0, expected at least 0 and less than 1"),
        ({"targets": "("}, r"LoraConfig.targets '\(' is no regular expression"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(UserError, match=message):
        LoraConfig(**fields)
