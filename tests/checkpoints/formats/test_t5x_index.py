"""Older forms of T5X's index, and damaged ones, made by hand."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
from flax import serialization

from tlm_jax.checkpoints.formats.t5x import open_t5x
from tlm_jax.errors import UserError


def _hand_made(directory, *, version=3, dtype="float32", spec_path=None, driver="file"):
    """A checkpoint of one parameter, of the form that T5X wrote in 2021 and 2022."""
    name = "target.token_embedder.embedding"
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    stored = values if dtype == "float32" else values.astype(ml_dtypes.bfloat16).view(np.uint16)
    metadata = {"chunks": [2, 2], "compressor": {"id": "gzip"}, "shape": [3, 2]}
    spec = {"driver": "zarr", "dtype": dtype, "metadata": metadata}
    place = {"driver": "file", "path": f"{directory / name}/"}
    ts.open({**spec, "kvstore": place}, create=True).result().write(stored).result()
    written = {**spec, "kvstore": {"driver": driver, "path": name}}
    if spec_path == "outside":
        written = {**spec, "kvstore": {"driver": driver, "bucket": "b"}, "path": name}
    tree = {
        "version": version,
        "optimizer": {
            "target": {
                "token_embedder": {"embedding": written},
                "decoder": {"decoder_norm": {"scale": np.float32([1, 2])}, "empty": {}},
            },
            "state": {"step": 1_100_000, "param_states": {"unused": None}},
        },
    }
    (directory / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    return values


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"spec_path": "outside", "driver": "gcs"},
        {"driver": "gfile"},
        {"version": 2, "dtype": "uint16"},
    ],
    ids=["2022", "cloud storage, 2021", "google", "bfloat16 as uint16"],
)
def test_older_forms(tmp_path, form):
    directory = tmp_path / "checkpoint_1100000"
    directory.mkdir()
    values = _hand_made(directory, **form)
    for path in (tmp_path, directory, directory / "checkpoint"):
        opened = open_t5x(path)
        assert opened.step == 1_100_000
        assert list(opened.arrays) == ["decoder/decoder_norm/scale", "token_embedder/embedding"]
        found = opened.arrays["token_embedder/embedding"]
        np.testing.assert_array_equal(found[1:3].astype(np.float32), values[1:3])
        np.testing.assert_array_equal(opened.arrays["decoder/decoder_norm/scale"].read(), [1, 2])
        assert not opened.state
    assert found.dtype == (ml_dtypes.bfloat16 if "dtype" in form else np.float32)


def test_an_item_whose_index_has_placeholders(tmp_path):
    item = tmp_path / "checkpoint_2" / "state"
    item.mkdir(parents=True)
    values = _hand_made(item)
    tree = serialization.msgpack_restore((item / "checkpoint").read_bytes())["optimizer"]
    name = "target.token_embedder.embedding"
    tree["target"]["token_embedder"]["embedding"] = f"PLACEHOLDER://{name}"
    (item / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    found = open_t5x(tmp_path).arrays["token_embedder/embedding"]
    np.testing.assert_array_equal(found.read(), values)


def test_damage_is_named(tmp_path):
    directory = tmp_path / "checkpoint_0"
    directory.mkdir()
    _hand_made(directory)
    array = directory / "target.token_embedder.embedding"
    kept = (array / "1.0").read_bytes()
    (array / "1.0").unlink()
    with pytest.raises(UserError, match=r"target\.token_embedder\.embedding: .*chunk .*is missing"):
        open_t5x(tmp_path).arrays["token_embedder/embedding"].read()
    (array / "1.0").write_bytes(kept[:-12])
    with pytest.raises(UserError, match=r"embedding: cannot be read \(.*\); the checkpoint is dam"):
        open_t5x(tmp_path).arrays["token_embedder/embedding"].read()
    description = json.loads((array / ".zarray").read_text())
    (array / ".zarray").write_text(json.dumps(description | {"shape": [3, 4], "chunks": [2, 4]}))
    with pytest.raises(UserError, match=r"has shape \[3, 4\], but the index in .* gives \[3, 2\]"):
        open_t5x(tmp_path)
    shutil.rmtree(array)
    with pytest.raises(UserError, match=r"no array at .*embedding: .*incomplete, get it again"):
        open_t5x(tmp_path)
    index = directory / "checkpoint"
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(UserError, match=r"is no index of a T5X checkpoint .*cut short") as raised:
        open_t5x(tmp_path)
    assert len(str(raised.value).splitlines()) == 1
    index.write_text('model_checkpoint_path: "model.ckpt-1000"')
    with pytest.raises(UserError, match="is of a TensorFlow checkpoint"):
        open_t5x(tmp_path)
    index.write_bytes(serialization.msgpack_serialize({"optimizer": {"state": {"step": 1}}}))
    with pytest.raises(UserError, match="holds no parameters under 'target'"):
        open_t5x(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: 3, r"is no index of a T5X checkpoint: it holds no dictionary$"),
        (
            lambda tree: _with(tree, "state", {"step": np.int32([1, 2])}),
            r"state/step is \[2\] in int32, expected one whole number; the checkpoint is damaged",
        ),
        (
            lambda tree: _with(tree, "state", {"step": 1.5}),
            r"state/step is \[\] in float64, expected one whole number",
        ),
        (
            lambda tree: _with(tree, "target", {"x": {"driver": "zarr", "path": "nowhere"}}),
            r"no array at .*nowhere: expected a zarr directory",
        ),
        (
            lambda tree: _with(
                tree,
                "target",
                {"x": {"driver": "zarr", "path": "target.token_embedder.embedding", "metadata": 1}},
            ),
            r"has shape \[3, 2\], but the index in .* gives \[\]; files of two checkpoints",
        ),
    ],
    ids=["no dictionary", "two steps", "half a step", "an absent array", "no shape"],
)
def test_a_damaged_index_is_named(tmp_path, change, message):
    directory = tmp_path / "checkpoint_0"
    directory.mkdir()
    _hand_made(directory)
    index = directory / "checkpoint"
    tree = serialization.msgpack_restore(index.read_bytes())
    index.write_bytes(serialization.msgpack_serialize(change(tree)))
    with pytest.raises(UserError, match=message) as raised:
        open_t5x(directory)
    assert str(directory) in str(raised.value)
    assert "\n" not in str(raised.value)


def _with(tree, name, value):
    return tree | {"optimizer": tree["optimizer"] | {name: value}}
