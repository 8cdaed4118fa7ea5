"""T5X's own checkpoints give the parameters that T5X had, and ours look to T5X like its own."""

import dataclasses
import gzip
import json

import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
from flax import serialization

from tlm_jax import models, trees
from tlm_jax.checkpoints.formats import t5x
from tlm_jax.checkpoints.formats.t5x import config_from_arrays, is_t5x, open_t5x, write_t5x
from tlm_jax.errors import UserError
from tlm_jax.lazy import cast, in_memory
from tlm_jax.models import layouts

LEGACY = {
    "t5_untied": "checkpoint_0",
    "scalable_t5_untied": "checkpoint_0",
    "decoder_only_untied": "checkpoint_0",
}
ENCODER_DECODER = models.EncoderDecoderConfig(
    vocab_size=32,
    embed_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=12,
    num_encoder_layers=2,
    num_decoder_layers=3,
    scan_layers=False,
    relpos_buckets=8,
)
DECODER_ONLY = models.DecoderOnlyConfig(
    vocab_size=32,
    embed_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=12,
    num_layers=2,
    mlp_activations=("gelu", "linear"),
    position="relative",
    attention_scale=1.0,
    scan_layers=False,
    relpos_buckets=8,
)


@pytest.fixture
def fixture_dir(shared_dir):
    return shared_dir / "fixtures" / "t5x"


def _read_as_t5x(directory):
    """Reads as T5X's Checkpointer does: by the specifications in the index, less two entries."""
    tree = serialization.msgpack_restore((directory / "checkpoint").read_bytes())
    assert tree["version"] == 3

    def read(node):
        if not isinstance(node, dict):
            return node
        if "driver" not in node:
            return {key: read(child) for key, child in node.items()}
        spec = ts.Spec(node).to_json()
        del spec["metadata"]["chunks"], spec["metadata"]["compressor"]
        spec["kvstore"]["path"] = f"{directory}/{spec['kvstore']['path']}"
        return ts.open(spec, open=True).result().read().result()

    return {key: read(child) for key, child in tree["optimizer"].items()}


def _assert_same(found, expected):
    found, expected = trees.flatten(found), trees.flatten(expected)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.asarray(found[name]).dtype == np.asarray(array).dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("model", LEGACY)
def test_native_checkpoint_of_t5x(fixture_dir, model):
    opened = open_t5x(fixture_dir / model / "ckpt_legacy" / LEGACY[model])
    assert opened.step == 0
    with np.load(fixture_dir / model / "params.npz") as expected:
        assert opened.arrays.keys() == set(expected)
        for name, array in opened.arrays.items():
            np.testing.assert_array_equal(
                array.read().reshape(expected[name].shape), expected[name], err_msg=name
            )
            assert array.dtype == np.float32
    names = {file.parent.name for file in opened.files}
    assert "target.decoder.decoder_norm.scale" in names
    assert not [name for name in names if name.startswith("state.")]


def test_native_and_orbax_checkpoints_hold_the_same(fixture_dir):
    native = open_t5x(fixture_dir / "t5_untied" / "ckpt_legacy")
    orbax = open_t5x(fixture_dir / "t5_untied" / "ckpt_orbax")
    for left, right in ((native.arrays, orbax.arrays), (native.state, orbax.state)):
        _assert_same(
            trees.unflatten({name: x.read() for name, x in left.items()}),
            trees.unflatten({name: x.read() for name, x in right.items()}),
        )
    assert native.step == orbax.step == 0


def test_the_newest_of_several_is_opened_with_its_optimizer(fixture_dir):
    opened = open_t5x(fixture_dir / "decoder_only_untied" / "ckpt_legacy")
    assert opened.step == 3
    slot = opened.state["state/param_states/decoder/token_embedder/embedding/v_col"]
    assert slot.shape == (256,)
    with np.load(fixture_dir / "decoder_only_untied" / "outputs.npz") as outputs:
        prefix = next(n for n in outputs if n.startswith("adafactor/") and "min_dim=16/slot/" in n)
        prefix = prefix.split("slot/")[0]
        checked = 0
        for name in outputs:
            if name.startswith(f"{prefix}slot/"):
                ours = opened.state["state/param_states/" + name.removeprefix(f"{prefix}slot/")]
                np.testing.assert_allclose(ours.read(), outputs[name], rtol=1e-5, err_msg=name)
                checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("t5_untied", {"num_encoder_layers": 2, "scan_layers": False, "relpos_per_layer": False}),
        ("scalable_t5_untied", {"num_decoder_layers": 2, "scan_layers": True}),
        ("decoder_only_untied", {"num_layers": 2, "position": "relative"}),
    ],
)
def test_names_and_shapes_tell_the_model(fixture_dir, model, expected):
    config = config_from_arrays(open_t5x(fixture_dir / model / "ckpt_legacy").arrays)
    sizes = {"vocab_size": 256, "embed_dim": 64, "num_heads": 4, "head_dim": 16, "mlp_dim": 128}
    for name, value in {**sizes, "tie_embeddings": False, **expected}.items():
        assert getattr(config, name) == value, name


@pytest.mark.parametrize(
    ("model", "step"), [*LEGACY.items(), ("decoder_only_untied", "checkpoint_3")]
)
def test_writing_what_was_read_gives_the_same_files(fixture_dir, tmp_path, model, step):
    """Index and descriptions byte for byte; compressed chunks by their content."""
    source = fixture_dir / model / "ckpt_legacy" / step
    opened = open_t5x(source)
    config = config_from_arrays(opened.arrays)
    target = tmp_path / step
    unrolled = layouts.unrolled(opened.arrays)
    write_t5x(target, unrolled, config, step=opened.step, state=opened.state)
    theirs = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert {path.relative_to(target) for path in target.rglob("*") if path.is_file()} == theirs
    for path in theirs:
        left, right = (target / path).read_bytes(), (source / path).read_bytes()
        if path.name == ".zarray" or path.name == "checkpoint":
            assert left == right, path
        else:
            assert gzip.decompress(left) == gzip.decompress(right), path


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER_ONLY], ids=["t5", "decoder_only"])
@pytest.mark.parametrize("scan_layers", [False, True], ids=["unscanned", "scanned"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_round_trip_is_exact(tmp_path, random_arrays, config, scan_layers, tied, dtype):
    config = dataclasses.replace(config, scan_layers=scan_layers, tie_embeddings=tied)
    arrays = {name: cast(x, np.dtype(dtype)) for name, x in random_arrays(config).items()}
    write_t5x(tmp_path / "checkpoint_7", arrays, config, step=7)
    opened = open_t5x(tmp_path)
    assert opened.step == 7
    found = config_from_arrays(opened.arrays)
    assert found.relpos_per_layer == scan_layers
    query = opened.arrays[
        f"decoder/{'decoder' if scan_layers else 'layers_0'}/self_attention/query/kernel"
    ]
    layers = config.num_layers if hasattr(config, "num_layers") else config.num_decoder_layers
    assert query.shape == ((8, layers, 2, 4) if scan_layers else (8, 8))
    back = layouts.arrange(
        layouts.unrolled(opened.arrays), dataclasses.replace(config, scan_layers=False)
    )
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == dtype
        np.testing.assert_array_equal(back[name].read(), array.read(), err_msg=name)
    seen = trees.flatten(_read_as_t5x(tmp_path / "checkpoint_7"))
    assert seen.pop("state/step") == 7
    for name, array in opened.arrays.items():
        np.testing.assert_array_equal(seen[f"target/{name}"], array.read(), err_msg=name)
    assert len(seen) == len(opened.arrays)


def test_t5_of_the_first_kind_has_one_input_projection(tmp_path, random_arrays):
    config = dataclasses.replace(
        ENCODER_DECODER, mlp_activations=("relu",), tie_embeddings=True, scan_layers=False
    )
    write_t5x(tmp_path / "checkpoint_0", random_arrays(config), config)
    assert config_from_arrays(open_t5x(tmp_path).arrays) == config


def test_large_arrays_are_divided_within_a_layer(tmp_path, random_arrays, monkeypatch):
    monkeypatch.setattr(t5x, "CHUNK_BYTES", 128)
    config = dataclasses.replace(ENCODER_DECODER, scan_layers=True)
    arrays = random_arrays(config)
    seen = []
    write_t5x(tmp_path / "checkpoint_0", arrays, config, written=seen.append)
    chunks = json.loads(
        (tmp_path / "checkpoint_0" / "target.decoder.decoder.mlp.wo.kernel" / ".zarray").read_text()
    )["chunks"]
    assert chunks == [4, 1, 8]
    assert max(seen) <= 128
    np.testing.assert_array_equal(
        layouts.unrolled(open_t5x(tmp_path).arrays)["decoder/layers_1/mlp/wo/kernel"].read(),
        arrays["decoder/layers_1/mlp/wo/kernel"].read(),
    )


@pytest.mark.parametrize("ocdbt", [True, False])
def test_todays_layout_written_by_orbax(tmp_path, random_arrays, ocdbt):
    arrays = random_arrays(DECODER_ONLY)
    tree = {
        "target": trees.unflatten({name: array.read() for name, array in arrays.items()}),
        "state": {"step": np.int32(5), "param_states": {}},
    }
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)
    directory = tmp_path / "checkpoint_5"
    ocp.Checkpointer(handler).save(directory / "state", args=ocp.args.PyTreeSave(tree))
    (directory / "dataset").mkdir()
    (tmp_path / "checkpoint_9.orbax-checkpoint-tmp-1").mkdir()
    opened = open_t5x(tmp_path)
    assert opened.step == 5
    assert config_from_arrays(opened.arrays) == DECODER_ONLY
    _assert_same(
        trees.unflatten({name: x.read() for name, x in opened.arrays.items()}), tree["target"]
    )


def test_is_t5x_tells_from_other_directories(tmp_path, fixture_dir, write_hugging_face):
    assert is_t5x(fixture_dir / "t5_untied" / "ckpt_orbax" / "checkpoint_0")
    assert is_t5x(fixture_dir / "t5_untied" / "ckpt_legacy")
    assert not is_t5x(fixture_dir / "t5_untied")
    assert not is_t5x(write_hugging_face())
    assert not is_t5x(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no T5X checkpoint at .*expected checkpoint_STEP with"):
        open_t5x(tmp_path)


def test_parameters_of_another_kind_are_not_t5x():
    arrays = {"decoder/token_embedder/embedding": in_memory(np.zeros((4, 2), np.float32))}
    message = "here has no parameter 'relpos_bias/rel_embedding': it is not of a T5X model"
    with pytest.raises(UserError, match=message):
        config_from_arrays(arrays, "here")
    for shape in ((4,), (4, 0)):
        arrays = {"token_embedder/embedding": in_memory(np.zeros(shape, np.float32))}
        message = (
            rf"here: 'token_embedder/embedding' has shape \[{str(list(shape))[1:-1]}\], expected 2 "
            "axes with entries: it is not of a T5X model"
        )
        with pytest.raises(UserError, match=message):
            config_from_arrays(arrays, "here")


def test_models_that_t5x_does_not_have_are_refused(tmp_path, random_arrays):
    rotary = dataclasses.replace(DECODER_ONLY, position="rotary")
    with pytest.raises(UserError, match=r"T5X has no model that does what .*; write hf or native"):
        write_t5x(tmp_path / "checkpoint_0", random_arrays(rotary), rotary)
    scaled = dataclasses.replace(DECODER_ONLY, attention_scale=0.5)
    with pytest.raises(UserError, match=r"T5X has no model .*\(attention_scale=0\.5\)"):
        write_t5x(tmp_path / "checkpoint_0", random_arrays(scaled), scaled)
    assert not list(tmp_path.iterdir())


def test_different_biases_need_scanned_layers(tmp_path, random_arrays):
    config = dataclasses.replace(DECODER_ONLY, relpos_per_layer=True)
    with pytest.raises(UserError, match=r"different relative biases .*: write scanned layers"):
        write_t5x(tmp_path / "checkpoint_0", random_arrays(config), config)


def test_a_value_that_is_not_finite_is_refused(tmp_path, random_arrays):
    arrays = random_arrays(DECODER_ONLY)
    arrays["decoder/decoder_norm/scale"] = in_memory(np.float32([1, np.nan, 1, 1, 1, 1, 1, 1]))
    with pytest.raises(UserError, match="'target/decoder/decoder_norm/scale' holds 1 values"):
        write_t5x(tmp_path / "checkpoint_0", arrays, DECODER_ONLY)
