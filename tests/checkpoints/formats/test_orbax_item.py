"""The arrays of Orbax's items have the names and values of the trees that were saved."""

import json
import shutil

import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts

from tlm_jax.checkpoints.formats.orbax_item import open_item
from tlm_jax.errors import UserError

TREE = {
    "step": np.int32(7),
    "params": {
        "a": np.arange(24, dtype=np.float32).reshape(4, 6),
        "b/c": np.arange(10).astype(ml_dtypes.bfloat16),
    },
    "nothing": None,
}


@pytest.mark.parametrize(("ocdbt", "zarr3"), [(True, False), (True, True), (False, False)])
def test_an_orbax_item_has_the_names_and_values_of_its_tree(tmp_path, ocdbt, zarr3):
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_zarr3=zarr3)
    ocp.Checkpointer(handler).save(tmp_path / "item", args=ocp.args.PyTreeSave(TREE))
    arrays = open_item(tmp_path / "item")
    assert sorted(arrays) == ["params/a", "params/b/c", "step"]
    np.testing.assert_array_equal(arrays["params/a"][1:3, 2:4], TREE["params"]["a"][1:3, 2:4])
    np.testing.assert_array_equal(arrays["params/b/c"].read(), TREE["params"]["b/c"])
    assert arrays["step"].read() == 7


def test_a_database_without_a_description_is_listed_by_its_keys(tmp_path):
    tree = {"params": {"a": TREE["params"]["a"]}}
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).save(
        tmp_path / "item", args=ocp.args.PyTreeSave(tree)
    )
    (tmp_path / "item" / "_METADATA").unlink()
    arrays = open_item(tmp_path / "item")
    assert list(arrays) == ["params/a"]
    np.testing.assert_array_equal(arrays["params/a"].read(), tree["params"]["a"])


def test_the_orbax_layout_of_t5x(shared_dir):
    fixture = shared_dir / "fixtures" / "t5x" / "t5_untied"
    arrays = open_item(fixture / "ckpt_orbax" / "checkpoint_0" / "state")
    with np.load(fixture / "params.npz") as expected:
        for name in expected:
            found = arrays[f"target/{name}"]
            np.testing.assert_array_equal(found.read(), expected[name])
            np.testing.assert_array_equal(found[1:3], expected[name][1:3])
    assert len(arrays) == 261


def test_a_missing_chunk_of_zarr_version_3_in_orbax_is_damage(tmp_path):
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=True)
    ocp.Checkpointer(handler).save(tmp_path / "item", args=ocp.args.PyTreeSave({"a": np.ones(3)}))
    description = json.loads((tmp_path / "item" / "_METADATA").read_text())
    assert description["store_array_data_equal_to_fill_value"] is True
    shutil.rmtree(tmp_path / "item" / "a" / "c")
    with pytest.raises(UserError, match="item/a: cannot be read"):
        open_item(tmp_path / "item")["a"].read()


def test_a_damaged_database_says_so(tmp_path):
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).save(
        tmp_path / "item", args=ocp.args.PyTreeSave(TREE)
    )
    manifest = tmp_path / "item" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    with pytest.raises(UserError, match="damaged or incomplete, get it again"):
        open_item(tmp_path / "item")
    (tmp_path / "item" / "_METADATA").unlink()
    with pytest.raises(UserError, match=r"item: the database cannot be read \(.*\)$") as raised:
        open_item(tmp_path / "item")
    assert "\n" not in str(raised.value)


def test_a_database_of_something_else_says_so(tmp_path):
    base = {"driver": "file", "path": f"{tmp_path / 'item'}/"}
    ts.KvStore.open({"driver": "ocdbt", "base": base}).result().write("notes", b"x").result()
    with pytest.raises(UserError, match="item: the database holds no arrays"):
        open_item(tmp_path / "item")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"no Orbax item at .*expected a folder with _METADATA or"):
        open_item(tmp_path)
    (tmp_path / "_METADATA").write_text('{"tree_metadata": {"a": {}}}')
    with pytest.raises(UserError, match="_METADATA is not Orbax's description"):
        open_item(tmp_path)
