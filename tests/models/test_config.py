"""Configurations reject what no model can have, in one clear line; named sizes are as published."""

import math

import gin
import pytest

from tlm_jax import models, trees
from tlm_jax.errors import UserError
from tlm_jax.models import mlp, stack, transformer_config

_SIZES = {"vocab_size": 64, "embed_dim": 32, "num_heads": 4, "head_dim": 8, "mlp_dim": 48}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 0}, "DecoderOnlyConfig.embed_dim is 0: expected at least 1"),
        ({"num_kv_heads": 3}, "num_kv_heads is 3: expected a divisor of num_heads=4"),
        ({"mlp_activations": ("gelo",)}, "mlp_activations.*Did you mean 'gelu'"),
        ({"mlp_activations": ()}, "expected at least one name"),
        ({"dtype": "bf16"}, "dtype is 'bf16': expected one of 'float32', 'bfloat16'"),
        ({"remat_policy": "minimum"}, "Did you mean 'minimal'"),
        ({"dropout_rate": 1.0}, "expected at least 0 and less than 1"),
        ({"position": "rotery"}, "Did you mean 'rotary'"),
        ({"position": "learned"}, "max_positions is None.*needs the number of positions"),
        ({"rotary_dim": 7}, "rotary_dim is 7: expected an even number up to head_dim=8"),
        ({"norm": "batch"}, "expected one of 'rms', 'layer'"),
        ({"norm_bias": True}, 'only norm="layer" has a bias'),
        ({"norm_position": "post", "parallel_residual": True}, "needs norm_position"),
        ({"norm_position": "sandwhich"}, "Did you mean 'sandwich'"),
        ({"parallel_norms": True}, "needs parallel_residual=True"),
        ({"attention_window": 0}, "attention_window is 0: expected at least 1"),
        ({"windowed_layers": (True, False)}, "needs attention_window"),
        (
            {"attention_window": 4, "windowed_layers": (True,)},
            r"windowed_layers is \(True,\): expected num_layers=2 flags",
        ),
        ({"rotary_windowed_base": 1e4}, "rotary_windowed_base is 10000.0: needs attention_window"),
        (
            {"position": "none", "attention_window": 4, "rotary_windowed_base": 1e4},
            'needs position="rotary"',
        ),
        (
            {
                "position": "alibi",
                "rotary_scaling": models.RotaryScaling(kind="linear", factor=2.0),
            },
            'rotary_scaling.*needs position="rotary"',
        ),
        ({"position_offset": 2}, 'position_offset is 2: expected 0, or more with position="lear'),
        ({"word_embed_dim": 0}, "word_embed_dim is 0: expected at least 1"),
        ({"relpos_buckets": 5}, "relpos_buckets is 5: expected an even number"),
        ({"relpos_max_distance": 16}, "relpos_max_distance is 16: expected more than half"),
    ],
)
def test_rejects(changes, message):
    with pytest.raises(UserError, match=message):
        models.DecoderOnlyConfig(num_layers=2, **(_SIZES | changes))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "llama"}, "kind is 'llama': expected 'linear' or 'llama3'. Did you mean 'llama3"),
        ({"factor": 0.0}, "factor is 0.0: expected more than 0"),
        ({"high_freq_factor": 1.0}, "high_freq_factor is 1.0: expected more than low_freq_factor"),
        ({"original_max_positions": 0}, "original_max_positions is 0: expected at least 1"),
    ],
)
def test_rejects_rotary_scaling(fields, message):
    with pytest.raises(UserError, match=message):
        models.RotaryScaling(**({"kind": "llama3", "factor": 8.0} | fields))


def test_all_layers_have_the_window_unless_told():
    config = models.DecoderOnlyConfig(num_layers=3, attention_window=4, **_SIZES)
    assert config.layer_windows == (True, True, True)
    some = models.DecoderOnlyConfig(
        num_layers=2, attention_window=4, windowed_layers=[False, True], **_SIZES
    )
    assert some.layer_windows == (False, True)
    assert hash(some) == hash(some)
    assert models.DecoderOnlyConfig(num_layers=2, **_SIZES).layer_windows is None


def test_encoder_decoder_needs_layers():
    with pytest.raises(UserError, match=r"num_decoder_layers is 0: expected at least 1"):
        models.EncoderDecoderConfig(num_encoder_layers=1, num_decoder_layers=0, **_SIZES)


def test_one_activation_may_be_given_as_a_name():
    config = models.DecoderOnlyConfig(num_layers=1, **(_SIZES | {"mlp_activations": "relu"}))
    assert config.mlp_activations == ("relu",)
    assert hash(config) == hash(config)


def test_every_name_that_is_accepted_has_a_meaning():
    assert set(transformer_config.ACTIVATIONS) == set(mlp.ACTIVATIONS)
    assert set(transformer_config.REMAT_POLICIES) == {"none", *stack.POLICIES}


# T5 1.1: the checkpoints' own parameter counts. Decoders: as their models' cards say.
PUBLISHED = {
    "t5_1_1_small": 76_961_152,
    "t5_1_1_base": 247_577_856,
    "t5_1_1_large": 783_150_080,
    "t5_1_1_xl": 2_849_757_184,
    "t5_1_1_xxl": 11_135_332_352,
    "decoder_1b": 1_100_048_384,
    "decoder_7b": 6_738_415_616,
    "decoder_70b": 68_976_648_192,
    "bloom_7b1": 7_069_016_064,
}


@pytest.mark.parametrize("name", [*PUBLISHED, "t5_1_1_tiny", "decoder_tiny", "decoder_125m"])
def test_named_sizes(name, request):
    gin.clear_config()
    try:
        gin.parse_config_file(str(request.config.rootpath / f"gin_configs/models/{name}.gin"))
        config = gin.query_parameter("%MODEL").scoped_configurable_fn()
    finally:
        gin.clear_config()
    leaves = trees.flatten(models.abstract_params(config)).values()
    count = sum(math.prod(leaf.shape) for leaf in leaves)
    if name in PUBLISHED:
        assert count == PUBLISHED[name]
    elif name.endswith("tiny"):
        assert count < 10_000_000
    else:
        assert 120_000_000 < count < 130_000_000


def test_a_model_says_what_is_asked_of_it_whichever_it_is():
    sizes = _SIZES | {"num_encoder_layers": 2, "num_decoder_layers": 3}
    pair = models.EncoderDecoderConfig(**sizes)
    windows = {"attention_window": 4, "windowed_layers": (True, False)}
    decoder = models.DecoderOnlyConfig(num_layers=2, **_SIZES, **windows)
    learned = models.DecoderOnlyConfig(
        num_layers=1, **_SIZES, position="learned", max_positions=9, logits_soft_cap=30.0
    )
    prefix = models.DecoderOnlyConfig(num_layers=1, **_SIZES, prefix_lm=True)
    every = (pair, decoder, learned, prefix)
    assert [c.is_encoder_decoder for c in every] == [True, False, False, False]
    assert [c.is_prefix_lm for c in every] == [False, False, False, True]
    assert [c.position_limit for c in every] == [None, None, 9, None]
    assert [c.unembedding_soft_cap for c in every] == [None, None, 30.0, None]
    layers = [{name: s.num_layers for name, s in c.stack_specs().items()} for c in every]
    assert layers[:2] == [{"decoder": 3, "encoder": 2}, {"decoder": 2}]
    assert decoder.stack_specs()["decoder"].windowed_layers == (True, False)
