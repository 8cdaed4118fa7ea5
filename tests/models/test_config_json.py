"""Configurations come back from JSON as they were, and what cannot be one is named."""

import json

import pytest

from tlm_jax import models
from tlm_jax.errors import UserError
from tlm_jax.models.config_json import config_from_json, config_to_json


def test_decoder_only_comes_back(decoder):
    text = json.dumps(config_to_json(decoder))
    assert config_from_json(json.loads(text)) == decoder


def test_encoder_decoder_comes_back(encoder_decoder):
    text = json.dumps(config_to_json(encoder_decoder))
    assert config_from_json(json.loads(text)) == encoder_decoder


def test_content_is_readable(llama):
    content = config_to_json(llama)
    assert content["family"] == "decoder_only"
    assert content["num_layers"] == 2
    assert content["mlp_activations"] == ("silu", "linear")
    assert content["rotary_scaling"] is None


def test_absent_fields_have_their_defaults(llama):
    sizes = ("vocab_size", "embed_dim", "num_heads", "head_dim", "mlp_dim", "num_layers")
    content = {name: getattr(llama, name) for name in sizes}
    assert config_from_json({"family": "decoder_only", **content}) == llama


def test_whole_numbers_pass_for_floats(llama):
    content = config_to_json(llama) | {
        "rotary_base": 10000,
        "rotary_scaling": {"kind": "linear", "factor": 4},
    }
    config = config_from_json(content)
    assert config.rotary_scaling == models.RotaryScaling(kind="linear", factor=4.0)
    assert hash(config) == hash(config_from_json(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "decoder"}, "family is 'decoder': expected.*Did you mean 'decoder_only'"),
        ({"num_layer": 2}, "has no field 'num_layer'. Did you mean 'num_layers'"),
        ({"num_layers": "2"}, r"DecoderOnlyConfig.num_layers is '2' \(str\), expected int"),
        ({"num_layers": True}, r"num_layers is True \(bool\), expected int"),
        ({"prefix_lm": 1}, r"prefix_lm is 1 \(int\), expected bool"),
        ({"windowed_layers": [1, 0]}, r"expected Sequence\[bool\] \| None"),
        ({"mlp_activations": "relu"}, r"mlp_activations is 'relu' \(str\), expected Sequence"),
        ({"rotary_scaling": 4.0}, r"rotary_scaling is 4.0 \(float\), expected RotaryScaling"),
        ({"rotary_scaling": {"kind": "linear"}}, "RotaryScaling.factor is missing"),
        (
            {"rotary_scaling": {"kind": "linear", "facter": 2.0}},
            "RotaryScaling has no field 'facter'. Did you mean 'factor'",
        ),
        ({"num_heads": 3, "num_kv_heads": 2}, "expected a divisor of num_heads=3"),
    ],
)
def test_rejects(changes, message, llama):
    with pytest.raises(UserError, match=message):
        config_from_json(config_to_json(llama) | changes)


def test_missing_field_is_named(llama):
    content = config_to_json(llama)
    del content["num_heads"]
    with pytest.raises(UserError, match=r"^DecoderOnlyConfig.num_heads is missing$"):
        config_from_json(content)
