"""Inner states against NumPy, and against themselves: scanned, rematerialised, packed, sharded."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.errors import UserError
from tlm_jax.models import Keeps, KeptLayers
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

STATES = jax.jit(models.layer_states, static_argnames=("config", "keeps"))
DECODER = KeptLayers(hidden=(0, 2), attention=(1,), cross_attention=(0, 2))
ALL = Keeps(DECODER, KeptLayers(hidden=(1,), attention=(0, 1)))


def weighted(params, batch, config, keeps):
    """Returns a number that depends on every entry of the states, and on nothing else."""
    inner = models.layer_states(params, batch, config, keeps)
    kept = jax.tree.leaves((inner.decoder, inner.encoder))
    return sum(jnp.sum(x * jnp.sin(jnp.arange(x.size)).reshape(x.shape)) for x in kept)


GRADIENT = jax.jit(jax.grad(weighted), static_argnums=(2, 3))


@pytest.fixture
def batch(tokens):
    """Two rows, each padded at its end, inputs and targets."""
    rows = {
        "encoder_input_tokens": tokens(2, 7),
        "decoder_input_tokens": tokens(2, 6, seed=1),
        "decoder_target_tokens": tokens(2, 6, seed=2),
    }
    rows["encoder_input_tokens"] = rows["encoder_input_tokens"].at[1, 4:].set(0)
    rows["decoder_target_tokens"] = rows["decoder_target_tokens"].at[0, 5:].set(0)
    return rows


class NumpyLayer:
    """One layer by its published formulas: RMS norms before sublayers, a gated network."""

    def __init__(self, params, config, activation):
        self.params = trees.flatten(jax.tree.map(np.asarray, params))
        self.config, self.activation = config, activation

    def norm(self, name, x):
        mean_square = (x**2).mean(-1, keepdims=True)
        return x / np.sqrt(mean_square + self.config.norm_epsilon) * self.params[f"{name}/scale"]

    def attend(self, name, x, source, mask, bias, scale):
        def heads(kind, array, number):
            kernel = self.params[f"{name}/{kind}/kernel"]
            return (array @ kernel).reshape(*array.shape[:2], number, self.config.head_dim)

        N, K = self.config.num_heads, self.config.kv_heads
        query = heads("query", x, N)
        key, value = (np.repeat(heads(k, source, K), N // K, axis=2) for k in ("key", "value"))
        logits = scale * np.einsum("btnh,bsnh->bnts", query, key) + bias
        logits = np.where(mask[:, None], logits, -1e10)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("bnts,bsnh->btnh", weights, value)
        return mixed.reshape(*x.shape[:2], -1) @ self.params[f"{name}/out/kernel"], weights

    def mlp(self, x):
        h = self.norm("pre_mlp_layer_norm", x)
        gate, up, down = (self.params[f"mlp/{name}/kernel"] for name in ("wi_0", "wi_1", "wo"))
        return x + (self.activation(h @ gate) * (h @ up)) @ down


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_a_decoder_only_model_agrees_with_numpy(kind, noisy_params, batch):
    config = dataclasses.replace(kind("grouped"), position="none", num_layers=3)
    params = noisy_params(config)
    keeps = Keeps(KeptLayers(hidden=(0, 1, 2), attention=(0, 1, 2)))
    inner = STATES(params, batch, config=config, keeps=keeps)
    plain, _ = models.unroll_layers(params, config)
    real = np.asarray(batch["decoder_target_tokens"]) > 0
    mask = np.tri(6, dtype=bool)[None] & real[:, None] & real[:, :, None]
    embedding = np.asarray(params["decoder"]["token_embedder"]["embedding"])
    x = embedding[np.asarray(batch["decoder_input_tokens"])]
    for index in range(3):
        layer = NumpyLayer(plain["decoder"][f"layers_{index}"], config, silu)
        h = layer.norm("pre_self_attention_layer_norm", x)
        scale = config.head_dim**-0.5
        result, weights = layer.attend("self_attention", h, h, mask, 0.0, scale)
        x = layer.mlp(x + result)
        np.testing.assert_allclose(inner.decoder.hidden[index], x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(inner.decoder.attention[index], weights, rtol=1e-4, atol=1e-6)
    assert inner.decoder.attention.dtype == jnp.float32
    assert inner.decoder.cross_attention is None
    assert inner.encoder == models.LayerStates()


def test_an_encoder_decoder_agrees_with_numpy(t5, noisy_params, batch):
    params = noisy_params(t5)
    inner = STATES(params, batch, config=t5, keeps=ALL)
    plain, _ = models.unroll_layers(params, t5)
    arrays = {name: np.asarray(array) for name, array in batch.items()}
    embedding = np.asarray(params["token_embedder"]["embedding"])
    inputs, targets = arrays["encoder_input_tokens"] > 0, arrays["decoder_target_tokens"] > 0
    source, target = (np.arange(n) for n in (7, 6))

    def bias(stack, buckets):
        table = np.asarray(params[stack]["relpos_bias"]["rel_embedding"])
        return table[:, buckets][None]

    # Distances are short enough to have a bucket each.
    offsets = source[None] - source[:, None]
    x = embedding[arrays["encoder_input_tokens"]]
    both_ways = bias("encoder", np.abs(offsets) + 16 * (offsets > 0))
    mask, encoder = inputs[:, None] & inputs[:, :, None], []
    for index in range(2):
        layer = NumpyLayer(plain["encoder"][f"layers_{index}"], t5, gelu)
        h = layer.norm("pre_attention_layer_norm", x)
        result, weights = layer.attend("attention", h, h, mask, both_ways, 1.0)
        x = layer.mlp(x + result)
        encoder.append((x, weights))
    np.testing.assert_allclose(inner.encoder.hidden[0], encoder[1][0], rtol=1e-4, atol=1e-4)
    for index in range(2):
        np.testing.assert_allclose(inner.encoder.attention[index], encoder[index][1], atol=1e-5)

    scale = np.asarray(params["encoder"]["encoder_norm"]["scale"])
    encoded = x / np.sqrt((x**2).mean(-1, keepdims=True) + t5.norm_epsilon) * scale
    backwards = bias("decoder", np.maximum(target[:, None] - target[None], 0))
    mask = np.tri(6, dtype=bool)[None] & targets[:, None] & targets[:, :, None]
    cross_mask = targets[:, :, None] & inputs[:, None]
    x, decoder = embedding[arrays["decoder_input_tokens"]], []
    for index in range(3):
        layer = NumpyLayer(plain["decoder"][f"layers_{index}"], t5, gelu)
        h = layer.norm("pre_self_attention_layer_norm", x)
        result, weights = layer.attend("self_attention", h, h, mask, backwards, 1.0)
        x = x + result
        h = layer.norm("pre_cross_attention_layer_norm", x)
        name = "encoder_decoder_attention"
        result, crossed = layer.attend(name, h, encoded, cross_mask, 0.0, 1.0)
        x = layer.mlp(x + result)
        decoder.append((x, weights, crossed))
    found = inner.decoder
    for place, index in enumerate(DECODER.hidden):
        np.testing.assert_allclose(found.hidden[place], decoder[index][0], rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(found.attention[0], decoder[1][1], atol=1e-5)
    for place, index in enumerate(DECODER.cross_attention):
        np.testing.assert_allclose(found.cross_attention[place], decoder[index][2], atol=1e-5)


@pytest.mark.parametrize("family", ["t5", "gptj", "gemma3"])
def test_asked_for_nothing_it_is_the_same_program(family, kind, batch):
    config = kind(family)

    def lowered(function):
        jitted = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(function(params)))))
        return jitted.lower(models.abstract_params(config)).as_text()

    def nothing(params):
        inner = models.layer_states(params, batch, config)
        assert inner.decoder == inner.encoder == models.LayerStates()
        return inner.last

    assert lowered(nothing) == lowered(lambda params: models.hidden_states(params, batch, config))


def test_unrolled_layers_keep_what_scanned_ones_keep(t5, noisy_params, batch, unrolled):
    params = noisy_params(t5)
    expected = STATES(params, batch, config=t5, keeps=ALL)
    got = STATES(models.unroll_layers(params, t5)[0], batch, config=unrolled(t5), keeps=ALL)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)


@pytest.mark.parametrize("scan", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_gradients_flow_through_states_recomputed_or_not(scan, t5, noisy_params, batch, unrolled):
    params = noisy_params(t5)
    expected = GRADIENT(params, batch, t5, ALL)
    again = dataclasses.replace(t5, remat_policy="full")
    if scan:
        got = GRADIENT(params, batch, again, ALL)
    else:
        got = GRADIENT(models.unroll_layers(params, t5)[0], batch, unrolled(again), ALL)
        expected, _ = models.unroll_layers(expected, t5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, expected)
    assert np.abs(np.asarray(expected["token_embedder"]["embedding"])).max() > 1


def test_memory_is_that_of_what_is_kept(llama, tokens):
    config = dataclasses.replace(llama, num_layers=8, remat_policy="full")
    batch = {f"decoder_{name}_tokens": tokens(16, 32) for name in ("input", "target")}

    def temporary_bytes(keeps):
        lowered = GRADIENT.lower(models.abstract_params(config), batch, config, Keeps(keeps))
        memory = lowered.compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    one, another = (temporary_bytes(KeptLayers(attention=layers)) for layers in ((3,), (1, 3)))
    state = 16 * config.num_heads * 32 * 32 * 4
    # The array, and its cotangent; never one for each of the eight layers.
    assert another - one < 3 * state


def test_a_packed_row_has_the_states_of_its_examples(t5, noisy_params, tokens):
    params = noisy_params(t5)
    lengths = {"encoder": (3, 4), "decoder": (4, 2)}
    packed, apart = {}, [{}, {}]
    for side, kinds in (("encoder", ("input",)), ("decoder", ("input", "target"))):
        first, second = lengths[side]
        segments = jnp.asarray([[1] * first + [2] * second])
        packed[f"{side}_segment_ids"] = segments
        packed[f"{side}_positions"] = jnp.asarray([[*range(first), *range(second)]])
        for seed, kind_of_tokens in enumerate(kinds):
            name = f"{side}_{kind_of_tokens}_tokens"
            packed[name] = tokens(1, first + second, seed=seed)
            for number, example in enumerate(apart):
                example[name] = packed[name][segments == number + 1][None]
    together = STATES(params, packed, config=t5, keeps=ALL)
    start = {"encoder": 0, "decoder": 0}
    for number, example in enumerate(apart):
        alone = STATES(params, example, config=t5, keeps=ALL)
        place = {s: slice(start[s], start[s] + lengths[s][number]) for s in start}
        rows, columns = place["decoder"], place["encoder"]
        for got, expected in (
            (together.decoder.hidden[:, :, rows], alone.decoder.hidden),
            (together.decoder.attention[..., rows, rows], alone.decoder.attention),
            (together.decoder.cross_attention[..., rows, columns], alone.decoder.cross_attention),
            (together.encoder.hidden[:, :, columns], alone.encoder.hidden),
            (together.encoder.attention[..., columns, columns], alone.encoder.attention),
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        start = {s: start[s] + lengths[s][number] for s in start}


def test_eight_devices_keep_what_one_keeps(t5, noisy_params, tokens):
    params = noisy_params(t5)
    batch = {
        "encoder_input_tokens": tokens(8, 7),
        "decoder_input_tokens": tokens(8, 6, seed=1),
        "decoder_target_tokens": tokens(8, 6, seed=2),
    }
    expected = STATES(params, batch, config=t5, keeps=ALL)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(t5), mesh, shapes=params)
    split = jax.device_put(params, shardings)
    rows = jax.device_put(batch, rules.batch_sharding(mesh))
    with rules.use_rules(mesh):
        got = jax.jit(lambda p, b: models.layer_states(p, b, t5, ALL))(split, rows)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)
    attention = got.decoder.attention.sharding
    assert attention.shard_shape((1, 8, 4, 6, 6)) == (1, 2, 2, 6, 6)


def test_what_a_model_has_not_is_told(t5, llama, batch):
    def ask(config, **kept):
        params = models.abstract_params(config)
        jax.eval_shape(lambda p: models.layer_states(p, batch, config, Keeps(**kept)), params)

    with pytest.raises(UserError, match="asked of the encoder, which the model has not"):
        ask(llama, encoder=KeptLayers(hidden=(0,)))
    with pytest.raises(UserError, match="cross-attention is asked of the decoder, which has none"):
        ask(llama, decoder=KeptLayers(cross_attention=(0,)))
    with pytest.raises(UserError, match="layer 3 of the decoder, whose last is layer 2"):
        ask(t5, decoder=KeptLayers(hidden=(0, 3)))
