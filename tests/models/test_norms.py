"""Norms round where transformers' do: once with a scale 1 + w or bias, else before the scale."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from tlm_jax.models.norms import Norm
from tlm_jax.models.specs import NormSpec

BFLOAT16 = ml_dtypes.bfloat16
WIDTH = 64


def _inputs():
    generator = np.random.default_rng(0)
    x = generator.normal(0.3, 2.0, (50, WIDTH)).astype(BFLOAT16)
    scale = generator.normal(0.0, 0.02, WIDTH).astype(np.float32)
    return x, scale, generator.normal(0.0, 0.5, WIDTH).astype(np.float32)


def _normalised(x, *, centred):
    y = x.astype(np.float32)
    y -= y.mean(-1, keepdims=True) if centred else 0
    return y / np.sqrt(np.square(y).mean(-1, keepdims=True) + 1e-6)


def _ours(spec, x, **params):
    found = Norm(spec, "bfloat16").apply({"params": params}, jnp.asarray(x))
    assert found.dtype == jnp.bfloat16  # pyright: ignore[reportAttributeAccessIssue]
    return np.asarray(found)


def test_a_scale_of_one_and_a_little_is_worked_by_hand():
    """x = (1, 7) has the root mean square 5; 1.4 · 1.0035 = 1.4049, next to 1.40625 in bfloat16.

    1.0035 alone is 1 there, and 1.4 is 1.3984.
    """
    x, w = np.array([[1, 7]], BFLOAT16), np.full(2, 0.0035, np.float32)
    found = _ours(NormSpec("rms", 1e-6, scale_offset=1.0), x, scale=w)
    assert float(found[0, 1]) == 1.40625


@pytest.mark.parametrize("kind", ["gemma", "layer", "llama"])
def test_bfloat16_is_rounded_where_transformers_rounds(kind):
    x, scale, bias = _inputs()
    if kind == "gemma":
        spec, params = NormSpec("rms", 1e-6, scale_offset=1.0), {"scale": scale}
        expected = (_normalised(x, centred=False) * (1 + scale)).astype(BFLOAT16)
    elif kind == "layer":
        spec, params = NormSpec("layer", 1e-6, True), {"scale": 1 + scale, "bias": bias}
        expected = (_normalised(x, centred=True) * (1 + scale) + bias).astype(BFLOAT16)
    else:
        spec, params = NormSpec("rms", 1e-6), {"scale": 1 + scale}
        once = _normalised(x, centred=False).astype(BFLOAT16)
        expected = once * (1 + scale).astype(BFLOAT16)
    found = _ours(spec, x, **params)
    # A value halfway between two may fall to either side, by another order of sums.
    assert np.mean(found != expected) < 0.002
