"""T5X's recorded outputs come out of every layout its parameters can be given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees

ENCODE = jax.jit(models.encode, static_argnums=2)

_SIZES = {
    "vocab_size": 256,
    "embed_dim": 64,
    "num_heads": 4,
    "head_dim": 16,
    "mlp_dim": 128,
    "mlp_activations": ("gelu", "linear"),
}
_T5 = models.EncoderDecoderConfig(num_encoder_layers=2, num_decoder_layers=2, **_SIZES)
_DECODER_ONLY = models.DecoderOnlyConfig(
    num_layers=2, position="relative", attention_scale=1.0, **_SIZES
)
_KINDS = {"t5": _T5, "scalable_t5": _T5, "decoder_only": _DECODER_ONLY}

# Which layouts a recording fits: scalable_t5's layers have biases of their own, not to be shared.
_LAYOUTS = [
    (name, scan, per_layer)
    for name in _KINDS
    for scan in (True, False)
    for per_layer in (True, False)
    if per_layer or name != "scalable_t5"
]


@pytest.fixture
def recording(shared_dir):
    """Parameters, inputs and outputs of one folder; a tied one has the untied one's parameters."""

    def load(folder):
        root = shared_dir / "fixtures" / "t5x"
        if not (root / folder).is_dir():
            pytest.skip(f"no recording {folder!r} in {root}")
        source = root / folder.replace("_tied", "_untied")
        arrays = (
            source / "params.npz",
            root / folder / "inputs.npz",
            root / folder / "outputs.npz",
        )
        return tuple(dict(np.load(path)) for path in arrays)

    return load


def _batch(inputs, kind):
    features = {name: array for name, array in inputs.items() if name.startswith(f"{kind}/")}
    return {name.removeprefix(f"{kind}/"): jnp.asarray(x) for name, x in features.items()}


@pytest.mark.parametrize(("name", "scan", "per_layer"), _LAYOUTS)
def test_untied(name, scan, per_layer, recording, logits):
    params, inputs, expected = recording(f"{name}_untied")
    config = dataclasses.replace(_KINDS[name], scan_layers=scan, relpos_per_layer=per_layer)
    params = models.to_layout(trees.unflatten(params), config)
    for kind, output in (("unpacked", "logits"), ("packed", "logits_packed")):
        got = logits(params, _batch(inputs, kind), config=config)
        np.testing.assert_allclose(got, expected[output], atol=1e-4)
    if "encoded" in expected:
        got = ENCODE(params, _batch(inputs, "unpacked"), config)
        np.testing.assert_allclose(got, expected["encoded"], atol=1e-4)


@pytest.mark.parametrize("name", _KINDS)
def test_tied(name, recording, logits):
    params, inputs, expected = recording(f"{name}_tied")
    config = dataclasses.replace(_KINDS[name], relpos_per_layer=True, tie_embeddings=True)
    params = models.to_layout(trees.unflatten(params), config)
    for kind, output in (("unpacked", "logits"), ("packed", "logits_packed")):
        got = logits(params, _batch(inputs, kind), config=config)
        np.testing.assert_allclose(got, expected[output], atol=1e-4)


def test_prefix_attention_both_ways(recording, logits):
    params, inputs, expected = recording("decoder_only_untied")
    config = dataclasses.replace(_DECODER_ONLY, prefix_lm=True)
    params = models.to_layout(trees.unflatten(params), config)
    outputs = {"unpacked": "logits_bidirectional", "packed": "logits_bidirectional_packed"}
    for kind, output in outputs.items():
        got = logits(params, _batch(inputs, kind), config=config)
        np.testing.assert_allclose(got, expected[output], atol=1e-4)


@pytest.mark.parametrize("name", _KINDS)
def test_bfloat16_compute(name, recording, logits):
    params, inputs, expected = recording(f"{name}_untied")
    config = dataclasses.replace(_KINDS[name], relpos_per_layer=True, dtype="bfloat16")
    params = models.to_layout(trees.unflatten(params), config)
    got = logits(params, _batch(inputs, "unpacked"), config=config)
    reference = expected["logits_bf16compute"]
    # Both round to eight bits, but in different places: T5X's softmax is in bfloat16.
    assert np.std(got - reference) < 2e-2 * np.std(reference)
