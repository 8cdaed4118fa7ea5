"""The format of a model is recognised from its files, and what is wrong is said in one line."""

import json
import shutil

import numpy as np
import pytest

from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError


def test_hugging_face_directories_of_one_and_many_files(write_hugging_face, llama_json):
    many = open_pretrained(write_hugging_face(name="many"))
    one = open_pretrained(write_hugging_face(name="one", shard_bytes=1 << 30))
    assert many.source_format == one.source_format == "hf"
    assert many.config == one.config
    assert len(many.files) > len(one.files) == 2
    assert many.hugging_face == llama_json
    assert list(many.companions) == ["tokenizer_config.json"]
    for name, array in many.arrays.items():
        np.testing.assert_array_equal(array.read(), one.arrays[name].read())


def test_native_models_by_all_their_paths(write_hugging_face, tmp_path):
    source = open_pretrained(write_hugging_face())
    convert(source, tmp_path / "n", "native")
    for path in ("n", "n/checkpoints", "n/checkpoints/0"):
        opened = open_pretrained(tmp_path / path)
        assert opened.source_format == "native"
        assert opened.hugging_face == source.hugging_face
        assert list(opened.companions) == ["tokenizer_config.json"]
        assert opened.arrays.keys() == source.arrays.keys()


def _refused(path, match, source_format=None):
    with pytest.raises(UserError, match=match) as error:
        open_pretrained(path, source_format)
    assert "\n" not in str(error.value)


def test_what_is_no_model_is_said(tmp_path):
    _refused(tmp_path / "absent", r"no model at .*absent: there is no such file or directory")
    _refused(tmp_path, r"is no model: expected a Hugging Face directory \(config.json")
    _refused(tmp_path, r"unknown format 'huggingface'; expected one of hf, t5x", "huggingface")
    _refused(tmp_path, r"has no config.json", "hf")


def test_a_missing_shard_is_named(write_hugging_face):
    directory = write_hugging_face()
    shard = hugging_face.weight_files(directory)[1]
    shard.unlink()
    _refused(directory, rf"1 of \d+ shards are missing, first '{shard.name}' \(listed in")


def test_pickles_are_refused_with_the_way_out(write_hugging_face):
    directory = write_hugging_face()
    for file in [*directory.glob("*.safetensors"), directory / hugging_face.INDEX]:
        file.unlink()
    (directory / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    message = r"pytorch_model.bin, a pickle, which can run any code.*save_pretrained\('DIR'\)"
    _refused(directory, message)
    (directory / "config.json").unlink()
    _refused(directory, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config.json is not JSON"),
        ("[" * 100_000, r"config.json is not JSON"),
        (json.dumps({"model_type": [], "architectures": [3]}), r"unknown architecture \(3\)"),
        ("[1]", r"config.json is not a JSON object"),
        (json.dumps({"model_type": "mamba"}), r"config.json is of an unknown architecture"),
        (json.dumps({"model_type": "llama"}), r"hf: config.json has no '\w+'"),
    ],
)
def test_bad_configurations_are_named(write_hugging_face, content, message):
    directory = write_hugging_face()
    (directory / "config.json").write_text(content)
    _refused(directory, message)


def test_weights_without_configuration(write_hugging_face):
    directory = write_hugging_face()
    (directory / "config.json").unlink()
    _refused(directory, r"has safetensors files but no config.json beside them")


def test_a_configuration_without_weights(write_hugging_face):
    directory = write_hugging_face(shard_bytes=1 << 30)
    (directory / "model.safetensors").unlink()
    _refused(directory, r"hf has a config.json but no \*.safetensors file$")


def test_a_description_without_checkpoints(write_hugging_face, tmp_path):
    convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
    shutil.rmtree(tmp_path / "n/checkpoints")
    _refused(tmp_path / "n", r"/n holds no checkpoint$")


def test_adapters_alone_are_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").touch()
    _refused(tmp_path, r"holds PEFT's adapters, without the model .* as LORA_INITIAL_PATH$")


def test_a_damaged_index_is_named(write_hugging_face):
    directory = write_hugging_face()
    (directory / hugging_face.INDEX).write_text("{}")
    _refused(directory, r"model.safetensors.index.json is damaged: expected JSON with a weight_map")
    (directory / hugging_face.INDEX).write_text('{"weight_map": {"a": 3}}')
    _refused(directory, r"model.safetensors.index.json is damaged: expected JSON with a weight_map")
    (directory / hugging_face.INDEX).write_text('{"weight_map": {"a": "../elsewhere"}}')
    _refused(directory, r"expected names of files beside it, found '../elsewhere'")


def test_what_the_system_refuses_is_one_line(write_hugging_face):
    directory = write_hugging_face(shard_bytes=1 << 30)
    file = directory / "model.safetensors"
    _refused(file, r"model.safetensors is one file of a model; name its directory, .*hf$")
    file.unlink()
    file.mkdir()
    _refused(directory, r"cannot be read: Is a directory: .*model.safetensors$")
    file.rmdir()
    file.symlink_to(file)
    _refused(directory, r"cannot be read: Too many levels of symbolic links: .*model.safetensors$")


def test_a_tensor_in_two_shards_is_refused(write_hugging_face):
    directory = write_hugging_face(shard_bytes=1 << 30)
    whole = directory / "model.safetensors"
    shutil.copy(whole, directory / "model-00001-of-00002.safetensors")
    whole.rename(directory / "model-00002-of-00002.safetensors")
    _refused(directory, r"is also in another shard")


def test_a_native_model_must_be_the_one_described(write_hugging_face, tmp_path):
    convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
    described = json.loads((tmp_path / "n/model.json").read_text())
    model = described["model"]
    for changes, message in (
        (
            {"num_layers": model["num_layers"] + 1},
            r"it has no '.*', which the model in model.json needs",
        ),
        ({"mlp_dim": model["mlp_dim"] + 1}, r"has shape \[.*\] there and \[.*\] in the model in"),
    ):
        changed = described | {"model": model | changes}
        (tmp_path / "n/model.json").write_text(json.dumps(changed))
        _refused(tmp_path / "n", message)
    (tmp_path / "n/model.json").write_text(json.dumps(described | {"hugging_face": 3}))
    _refused(tmp_path / "n", r"model.json is damaged: expected format 1")


def test_a_damaged_checkpoint_is_passed_over_aloud(write_hugging_face, tmp_path, capsys):
    convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
    checkpoints = tmp_path / "n" / "checkpoints"
    shutil.copytree(checkpoints / "0", checkpoints / "1")
    (checkpoints / "1" / "manifest.json").write_text("{}")
    opened = open_pretrained(tmp_path / "n")
    assert all(path.is_relative_to(checkpoints / "0") for path in opened.files)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "checkpoint 1 of" in said[0]
    assert "manifest.json cannot be read; using checkpoint 0" in said[0]
    assert (checkpoints / "1" / "manifest.json").is_file()
    _refused(checkpoints / "1", r"no usable checkpoint in .*manifest.json cannot be read")


def test_a_damaged_native_model_is_refused(write_hugging_face, tmp_path):
    convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
    chunk = max((tmp_path / "n/checkpoints/0/state").rglob("*"), key=lambda p: p.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    _refused(tmp_path / "n", r"no usable checkpoint in .*has been altered \(its checksum differs\)")
    (tmp_path / "n/model.json").write_text("{}")
    _refused(tmp_path / "n", r"model.json is damaged")
    (tmp_path / "n/model.json").unlink()
    _refused(tmp_path / "n", r"model.json is missing, which says what model the checkpoint is of")
