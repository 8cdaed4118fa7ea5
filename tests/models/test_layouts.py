"""Parameter trees of every T5X form convert into each other, and misfits are named."""

import dataclasses

import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.models import layouts


def _numpy(params):
    return trees.map_named(lambda _, leaf: np.asarray(leaf), params)


def _assert_same(left, right):
    left, right = trees.flatten(left), trees.flatten(right)
    assert left.keys() == right.keys()
    for name, leaf in left.items():
        np.testing.assert_array_equal(leaf, right[name], err_msg=name)


def _lazy(params):
    return {name: in_memory(np.asarray(leaf)) for name, leaf in trees.flatten(params).items()}


def _read(arrays):
    return trees.unflatten({name: array.read() for name, array in arrays.items()})


def test_unstacking_undoes_stacking(encoder_decoder, noisy_params):
    params = _numpy(noisy_params(encoder_decoder))
    flat = layouts.unrolled(_lazy(params))
    wanted = models.abstract_params(dataclasses.replace(encoder_decoder, scan_layers=False))
    assert flat.keys() == trees.flatten(wanted).keys()
    kernel = params["decoder"]["decoder"]["mlp"]["wo"]["kernel"]
    np.testing.assert_array_equal(flat["decoder/layers_2/mlp/wo/kernel"].read(), kernel[:, 2])
    _assert_same(_read(layouts.stack_layers(flat)), params)


def test_stacking_layers_of_one_array_gives_that_array(t5, noisy_params):
    arrays = _lazy(noisy_params(t5))
    assert layouts.stack_layers(layouts.unstack_layers(arrays)) == arrays


def test_joining_undoes_splitting_heads(t5, unrolled, noisy_params):
    for config in (t5, unrolled(t5)):
        params = _numpy(noisy_params(config))
        flat = layouts.unrolled(_lazy(params))
        split = layouts.split_heads(flat, 8)
        _assert_same(_read(layouts.unrolled(split)), _read(flat))
        _assert_same(_read(layouts.unrolled(layouts.stack_layers(split))), _read(flat))


def test_split_heads_have_the_shapes_of_scalable_t5(t5, noisy_params):
    split = layouts.split_heads(layouts.unrolled(_lazy(noisy_params(t5))), 8)
    stacked = layouts.stack_layers(split)
    assert stacked["encoder/encoder/attention/query/kernel"].shape == (32, 2, 4, 8)
    assert stacked["encoder/encoder/attention/out/kernel"].shape == (4, 2, 8, 32)


def test_any_layout_is_accepted(t5, unrolled, noisy_params):
    params = _numpy(noisy_params(t5))
    split = layouts.split_heads(layouts.unrolled(_lazy(params)), 8)
    _assert_same(models.to_layout(_read(split), t5), params)
    _assert_same(models.to_layout(_read(layouts.stack_layers(split)), t5), params)
    flat = _read(layouts.unrolled(_lazy(params)))
    _assert_same(models.to_layout(params, unrolled(t5)), flat)


def test_a_shared_bias_is_repeated_for_each_layer_and_back(t5, noisy_params, logits, tokens):
    own = dataclasses.replace(t5, relpos_per_layer=True)
    shared = _numpy(noisy_params(t5))
    repeated = models.to_layout(shared, own)
    assert repeated["decoder"]["decoder"]["relpos_bias"]["rel_embedding"].shape == (4, 3, 32)
    _assert_same(models.to_layout(repeated, t5), shared)
    batch = {
        "encoder_input_tokens": tokens(2, 5),
        "decoder_input_tokens": tokens(2, 4),
        "decoder_target_tokens": tokens(2, 4),
    }
    np.testing.assert_allclose(
        logits(repeated, batch, config=own), logits(shared, batch, config=t5), atol=1e-5
    )


def test_different_biases_cannot_be_shared(t5, noisy_params):
    params = noisy_params(dataclasses.replace(t5, relpos_per_layer=True))
    with pytest.raises(UserError, match=r"different relative biases.*relpos_per_layer=True"):
        models.to_layout(params, t5)


def test_logits_matrix_is_dropped_where_logits_are_tied(t5, noisy_params):
    tied = dataclasses.replace(t5, tie_embeddings=True)
    params = models.to_layout(noisy_params(t5), tied)
    assert "logits_dense" not in params["decoder"]


def test_misfits_are_named(t5, noisy_params):
    params = noisy_params(t5)
    with pytest.raises(UserError) as error:
        models.check_shapes(params, dataclasses.replace(t5, mlp_dim=40))
    assert "'decoder/decoder/mlp/wi_0/kernel'" in str(error.value)
    assert "(32, 3, 48)" in str(error.value)
    assert "(32, 3, 40)" in str(error.value)
    with pytest.raises(UserError, match=r"'decoder/logits_dense/kernel'.*does not belong"):
        models.check_shapes(params, dataclasses.replace(t5, tie_embeddings=True))
    del params["encoder"]["encoder_norm"]
    with pytest.raises(UserError, match=r"'encoder/encoder_norm/scale' \(32,\).*missing"):
        models.check_shapes(params, t5)
