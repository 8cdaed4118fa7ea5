"""Parameters of any format land where a mesh wants them, if they are of the model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.checkpoints.loading import load_params, with_run_choices
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.lazy import Stored
from tlm_jax.sharding import mesh as meshes
from tlm_jax.sharding import rules


def _abstract(config, shape):
    mesh = meshes.make_mesh(meshes.MeshShape(**shape))
    shapes = models.abstract_params(config)
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=shapes)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )


@pytest.mark.parametrize("scan_layers", [True, False])
@pytest.mark.parametrize("shape", [{"data": 2, "fsdp": 4}, {"data": 1, "fsdp": 2, "tensor": 4}])
def test_every_device_gets_its_part(write_hugging_face, scan_layers, shape):
    source = open_pretrained(write_hugging_face())
    config = dataclasses.replace(source.config, scan_layers=scan_layers)
    whole = trees.flatten(load_params(source, config))
    sharded = trees.flatten(load_params(source, config, _abstract(config, shape)))
    assert whole.keys() == sharded.keys()
    assert any(not array.sharding.is_fully_replicated for array in sharded.values())
    for name, array in sharded.items():
        assert array.dtype == jnp.float32
        np.testing.assert_array_equal(np.asarray(array), whole[name], err_msg=name)


def test_a_sharded_array_is_read_part_by_part(write_hugging_face):
    """No more than a device's part of any array is read at once."""
    source = open_pretrained(write_hugging_face())
    largest = {}

    def watched(name, array):
        def read(index):
            part = array[index]
            largest[name] = max(largest.get(name, 0), part.size / np.prod(array.shape))
            return part

        return Stored(array.shape, array.dtype, read)

    arrays = {name: watched(name, array) for name, array in source.arrays.items()}
    abstract = _abstract(source.config, {"data": 1, "fsdp": 2, "tensor": 4})
    load_params(dataclasses.replace(source, arrays=arrays), source.config, abstract)
    kernels = [share for name, share in largest.items() if name.endswith("kernel")]
    assert max(kernels) <= 1 / 2
    assert min(kernels) == 1 / 8


def test_parameters_take_the_type_that_is_wanted(write_hugging_face, bfloat16):
    source = open_pretrained(write_hugging_face(dtype=bfloat16))
    assert {str(array.dtype) for array in source.arrays.values()} == {"bfloat16"}
    params = trees.flatten(load_params(source, source.config))
    assert {str(array.dtype) for array in params.values()} == {"float32"}
    half = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16),
        models.abstract_params(source.config),
    )
    for name, array in trees.flatten(load_params(source, source.config, half)).items():
        np.testing.assert_array_equal(array.astype(np.float32), params[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_dim": 32}, r"'decoder/decoder/mlp/wi_0/kernel' has shape \[16, 3, 24\] there and"),
        ({"tie_embeddings": True, "logits_bias": True}, r"has no 'decoder/logits_dense/bias'"),
        ({"mlp_bias": True}, r"it has no 'decoder/decoder/mlp/wi_0/bias', which this model needs"),
        ({"num_layers": 2}, r"has shape \[16, 3, 24\] there and \[16, 2, 24\] in this model"),
        ({"vocab_size": 64}, r"has 48 rows for tokens, this model 64 .*RESIZE_VOCABULARY=True"),
    ],
)
def test_another_model_is_refused(write_hugging_face, changes, message):
    source = open_pretrained(write_hugging_face())
    with pytest.raises(UserError, match=message):
        load_params(source, dataclasses.replace(source.config, **changes))


def test_choices_that_change_no_shape_are_announced(write_hugging_face):
    source = open_pretrained(write_hugging_face())
    said = []
    config = dataclasses.replace(source.config, rotary_base=5e5, remat_policy="full")
    load_params(source, config, announce=said.append)
    assert len(said) == 1
    assert said[0].endswith("differ in rotary_base: 10000.0 and 500000.0")


def test_a_causal_model_that_becomes_a_prefix_lm_is_announced(write_hugging_face):
    """Its parameters fit, and its prompts are read in another way than it was trained with."""
    source = open_pretrained(write_hugging_face())
    said = []
    load_params(source, dataclasses.replace(source.config, prefix_lm=True), announce=said.append)
    assert len(said) == 1
    assert said[0].endswith("differ in prefix_lm: False and True")


@pytest.mark.parametrize("rows", [40, 48, 64])
def test_rows_for_tokens_are_cut_or_extended_if_asked(write_hugging_face, rows):
    source = open_pretrained(write_hugging_face())
    config = dataclasses.replace(source.config, vocab_size=rows)
    said = []
    before = trees.flatten(load_params(source, source.config))
    after = trees.flatten(load_params(source, config, resize_vocabulary=True, announce=said.append))
    for name, axis in (("token_embedder/embedding", 0), ("logits_dense/kernel", 1)):
        old, new = (np.moveaxis(tree[f"decoder/{name}"], axis, 0) for tree in (before, after))
        assert len(new) == rows
        kept = min(rows, 48)
        np.testing.assert_array_equal(new[:kept], old[:kept])
        for row in new[kept:]:
            np.testing.assert_allclose(row, old.mean(0), rtol=1e-6)
    notes = [line for line in said if "entries for tokens" in line]
    assert len(notes) == (0 if rows == 48 else 2)


def test_run_choices_are_checked(write_hugging_face):
    source = open_pretrained(write_hugging_face())
    assert with_run_choices(source.config, dtype="bfloat16").dtype == "bfloat16"
    with pytest.raises(UserError, match=r"no field 'dropout'. Did you mean 'dropout_rate'"):
        with_run_choices(source.config, dropout=0.1)
