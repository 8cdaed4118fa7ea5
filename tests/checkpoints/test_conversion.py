# pyright: reportAttributeAccessIssue=false
"""Models keep every bit on their way through the formats, and failures leave nothing behind."""

import dataclasses
import json
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.checkpoints import families, orbax_files
from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import hugging_face, native
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.models import layouts

T5 = models.EncoderDecoderConfig(
    vocab_size=40,
    embed_dim=16,
    num_encoder_layers=2,
    num_decoder_layers=3,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
)
LLAMA = models.DecoderOnlyConfig(
    vocab_size=40, embed_dim=16, num_layers=3, num_heads=2, head_dim=8, mlp_dim=24
)


def _same_tensors(left, right):
    left, right = (
        hugging_face.open_arrays(hugging_face.weight_files(path)) for path in (left, right)
    )
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        np.testing.assert_array_equal(array.read(), right[name].read(), err_msg=name)


@pytest.fixture
def write_native(tmp_path, random_arrays):
    """Writes a native model: `write(config) -> its directory`."""

    def write(config, name="native"):
        directory = tmp_path / name
        directory.mkdir()
        arrays = layouts.arrange(random_arrays(config), config)
        native.write(directory, config, arrays, None, written=lambda _: None)
        return directory

    return write


def _bits(path):
    opened = open_pretrained(path)
    return {name: array.read().tobytes() for name, array in opened.arrays.items()}


@pytest.mark.parametrize("scan_layers", [True, False])
def test_hugging_face_to_native_and_back_gives_the_same_tensors(
    write_hugging_face, tmp_path, scan_layers
):
    source = write_hugging_face()
    assert len(hugging_face.weight_files(source)) > 1
    convert(open_pretrained(source), tmp_path / "n", "native", scan_layers=scan_layers)
    opened = open_pretrained(tmp_path / "n")
    assert opened.source_format == "native"
    assert opened.config.scan_layers == scan_layers
    convert(opened, tmp_path / "back", "hf")
    _same_tensors(source, tmp_path / "back")
    assert hugging_face.read_config(tmp_path / "back") == hugging_face.read_config(source)
    assert (tmp_path / "back/tokenizer_config.json").read_text() == '{"eos_token": "</s>"}'


@pytest.mark.parametrize(
    "config",
    [
        T5,
        dataclasses.replace(T5, tie_embeddings=True, mlp_activations=("relu",)),
        LLAMA,
        dataclasses.replace(LLAMA, num_kv_heads=1, tie_embeddings=True, scale_tied_logits=False),
        dataclasses.replace(LLAMA, attention_window=5),
    ],
    ids=["t5_1_1", "t5_1_0", "llama", "llama_tied", "mistral"],
)
def test_native_to_hugging_face_and_back_keeps_every_bit(config, write_native, tmp_path):
    source = write_native(config)
    convert(open_pretrained(source), tmp_path / "hf", "hf")
    convert(open_pretrained(tmp_path / "hf"), tmp_path / "back", "native")
    assert _bits(tmp_path / "back") == _bits(source)
    again = native.read_model_file(tmp_path / "back")[0]
    assert families.model_differences(again, config) == []


def test_a_prefix_lm_is_not_written_as_a_causal_model(write_native, tmp_path):
    """transformers' decoders are causal: an answer's logits would differ."""
    config = dataclasses.replace(LLAMA, prefix_lm=True)
    source = write_native(config)
    with pytest.raises(UserError, match=r"is a prefix LM .* Write native or t5x, or train with"):
        convert(open_pretrained(source), tmp_path / "hf", "hf")
    assert not (tmp_path / "hf").exists()
    convert(open_pretrained(source), tmp_path / "again", "native")
    assert native.read_model_file(tmp_path / "again")[0].prefix_lm
    relative = {"position": "relative", "attention_scale": 1.0, "mlp_activations": ("relu",)}
    t5x = write_native(dataclasses.replace(config, **relative, scan_layers=False), "relative")
    convert(open_pretrained(t5x), tmp_path / "t5x", "t5x")


@pytest.mark.parametrize("config", [T5, LLAMA], ids=["t5", "decoder"])
def test_what_orbax_reads_is_what_was_written(config, write_native):
    source = write_native(config)
    wanted = {"params": models.abstract_params(config)}
    params = orbax_files.read_arrays(source / "checkpoints" / "0", wanted)["params"]
    flat = {name: in_memory(np.asarray(leaf)) for name, leaf in trees.flatten(params).items()}
    found = layouts.unrolled(flat)
    assert {name: array.read().tobytes() for name, array in found.items()} == _bits(source)


def test_large_parameters_are_written_in_chunks(write_native, monkeypatch):
    whole = _bits(write_native(LLAMA, "whole"))
    monkeypatch.setattr(native, "CHUNK_BYTES", 256)
    divided = write_native(LLAMA, "divided")
    assert _bits(divided) == whole
    state = divided / "checkpoints" / "0" / "state"
    largest = max(path.stat().st_size for path in state.rglob("*") if path.name[0].isdigit())
    assert largest <= 256


def test_a_shared_bias_repeated_for_each_layer_becomes_one_again(write_native, tmp_path):
    source = write_native(T5)
    config = dataclasses.replace(T5, relpos_per_layer=True)
    repeated = layouts.arrange(open_pretrained(source).arrays, config)
    directory = tmp_path / "per_layer"
    directory.mkdir()
    native.write(directory, config, repeated, None, written=lambda _: None)
    convert(open_pretrained(directory), tmp_path / "hf", "hf")
    convert(open_pretrained(source), tmp_path / "hf_of_shared", "hf")
    _same_tensors(tmp_path / "hf", tmp_path / "hf_of_shared")


def test_parameters_are_rounded_to_the_type_asked_for(write_hugging_face, tmp_path, bfloat16):
    source = write_hugging_face()
    convert(open_pretrained(source), tmp_path / "half", "hf", dtype=bfloat16)
    theirs = hugging_face.open_arrays(hugging_face.weight_files(source))
    for name, array in hugging_face.open_arrays(
        hugging_face.weight_files(tmp_path / "half")
    ).items():
        np.testing.assert_array_equal(array.read(), theirs[name].read().astype(bfloat16))
    assert hugging_face.read_config(tmp_path / "half")["torch_dtype"] == "bfloat16"


def test_the_report_lists_files_with_checksums(write_hugging_face, tmp_path):
    source = write_hugging_face()
    seen = []
    done = convert(
        open_pretrained(source),
        tmp_path / "n",
        "native",
        written=lambda count, total: seen.append((count, total)),
    )
    assert seen[-1] == (done.num_bytes, done.num_bytes)
    assert sorted(seen) == seen
    report = json.loads((tmp_path / "n/conversion.json").read_text())
    assert (
        report["num_params"] == done.num_params == models.num_params(open_pretrained(source).config)
    )
    weights = hugging_face.weight_files(source)
    assert report["from"]["files"].keys() == {str(p) for p in [source / "config.json", *weights]}
    for place, root in (("from", ""), ("to", f"{tmp_path}/n/")):
        for name, spec in report[place]["files"].items():
            content = Path(root + name).read_bytes()
            assert spec == {"size_bytes": len(content), "crc32": zlib.crc32(content)}


def test_unknown_targets_are_answered_with_the_nearest(write_hugging_face, tmp_path):
    with pytest.raises(UserError, match=r"unknown target 'nativ'; .*Did you mean 'native'"):
        convert(open_pretrained(write_hugging_face()), tmp_path / "n", "nativ")


def test_a_changed_model_keeps_what_still_holds_of_its_config(write_hugging_face, tmp_path):
    """A student trained from a checkpoint with other positions is written with these."""
    source = open_pretrained(write_hugging_face())
    changed = dataclasses.replace(source.config, rotary_base=500_000.0)
    convert(dataclasses.replace(source, config=changed), tmp_path / "hf2", "hf")
    config = hugging_face.read_config(tmp_path / "hf2")
    assert config["rope_theta"] == 500_000.0
    assert config["max_position_embeddings"] == 64


@pytest.mark.parametrize(
    "name",
    [
        "decoder_only_untied/ckpt_legacy/checkpoint_3",
        "scalable_t5_untied/ckpt_legacy/checkpoint_0",
        "t5_untied/ckpt_legacy/checkpoint_0",
        "t5_untied/ckpt_orbax/checkpoint_0",
    ],
)
def test_t5x_checkpoints_pass_through_our_form(name, shared_dir, tmp_path):
    source = open_pretrained(shared_dir / "fixtures" / "t5x" / name)
    expected = {key: array.read().tobytes() for key, array in source.arrays.items()}
    convert(source, tmp_path / "n", "native")
    assert open_pretrained(tmp_path / "n").config.scan_layers
    assert _bits(tmp_path / "n") == expected
    convert(open_pretrained(tmp_path / "n"), tmp_path / "default", "t5x")
    assert open_pretrained(tmp_path / "default").config == source.config
    assert _bits(tmp_path / "default") == expected
    # scalable_t5's layout: stacked, and a relative bias for every layer.
    convert(open_pretrained(tmp_path / "n"), tmp_path / "stacked", "t5x", scan_layers=True)
    stacked = open_pretrained(tmp_path / "stacked")
    assert (stacked.config.scan_layers, stacked.config.relpos_per_layer) == (True, True)
    params, again = (load_params(model, source.config) for model in (source, stacked))
    jax.tree.map(np.testing.assert_array_equal, again, params)
    convert(source, tmp_path / "again", "t5x")
    again = open_pretrained(tmp_path / "again")
    assert again.step == source.step
    assert {key: slot.read().tobytes() for key, slot in again.optimizer.items()} == {
        key: slot.read().tobytes() for key, slot in source.optimizer.items()
    }
    assert source.optimizer


def test_biases_of_each_layer_have_no_place_in_transformers(shared_dir, tmp_path):
    source = open_pretrained(
        shared_dir / "fixtures/t5x/scalable_t5_untied/ckpt_legacy/checkpoint_0"
    )
    with pytest.raises(UserError, match=r"different relative biases.*transformers' T5 has one for"):
        convert(source, tmp_path / "hf", "hf")


def test_a_tokenizer_with_more_ids_than_rows_is_noted(shared_dir, tmp_path):
    source = open_pretrained(shared_dir / "cases" / "54-vocabulary-rows" / "tokenizer-larger")
    (note,) = convert(source, tmp_path / "hf", "hf").notes
    assert note.startswith("the tokenizer has 262 ids, but the model's embedding only 258 rows")
    assert note.endswith("or train from here with RESIZE_VOCABULARY=True")
