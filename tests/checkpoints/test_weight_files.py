"""Which files of a directory are the model's, as transformers chooses them."""

import json
import shutil

import pytest

from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import vocabulary_from_name

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4976698672\n"


def _names(directory):
    return [file.name for file in hugging_face.weight_files(directory)]


def _refused(call, match):
    with pytest.raises(UserError, match=match) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.fixture
def whole(write_hugging_face):
    """A model in one file."""
    return write_hugging_face(shard_bytes=1 << 30)


@pytest.mark.parametrize(
    "other",
    [
        "adapter_model.safetensors",
        "consolidated.safetensors",
        "consolidated.00.safetensors",
        "model.fp16.safetensors",
        "model-00001-of-00005.safetensors",
        "optimizer.safetensors",
    ],
)
def test_what_lies_beside_the_model_is_not_read(whole, other):
    (whole / other).write_bytes(b"anything")
    assert _names(whole) == ["model.safetensors"]
    open_pretrained(whole)


def test_a_stale_index_beside_a_whole_model_is_not_read(whole):
    content = {"weight_map": {"model.norm.weight": "model-00001-of-00005.safetensors"}}
    (whole / hugging_face.INDEX).write_text(json.dumps(content))
    assert _names(whole) == ["model.safetensors"]


def test_only_the_shards_of_the_index_are_read(write_hugging_face):
    directory = write_hugging_face()
    shards = _names(directory)
    assert len(shards) > 1
    (directory / "adapter_model.safetensors").write_bytes(b"anything")
    (directory / "model-00001-of-00099.safetensors").write_bytes(b"anything")
    assert _names(directory) == shards


def test_shards_without_an_index_are_told_by_their_numbers(write_hugging_face):
    directory = write_hugging_face()
    shards = _names(directory)
    (directory / hugging_face.INDEX).unlink()
    (directory / "consolidated.safetensors").write_bytes(b"anything")
    assert _names(directory) == shards
    (directory / shards[0]).unlink()
    _refused(lambda: _names(directory), rf"1 of \d+ shards are missing, first '{shards[0]}'; get")
    (directory / "other-00001-of-00001.safetensors").write_bytes(b"anything")
    _refused(lambda: _names(directory), r"has the shards of several models and no model.safe")


def test_the_only_file_is_the_model_whatever_its_name(whole):
    (whole / "model.safetensors").rename(whole / "model.fp16.safetensors")
    (whole / "adapter_model.safetensors").write_bytes(b"anything")
    assert _names(whole) == ["model.fp16.safetensors"]
    shutil.copy(whole / "model.fp16.safetensors", whole / "pruned.safetensors")
    _refused(lambda: _names(whole), r"2 safetensors files and neither .*model.fp16.*, pruned")


def test_others_files_alone_are_no_model(whole):
    (whole / "model.safetensors").rename(whole / "consolidated.safetensors")
    _refused(lambda: _names(whole), r"has consolidated.safetensors, but no model.safetensors: ada")


def test_pointers_of_git_lfs_are_named_as_such(whole, tmp_path):
    """Eight bytes of `version` would be a header of 2.3e18 bytes."""
    for name in ("tokenizer.json", "spiece.model"):
        (whole / name).write_text(POINTER)
        match = rf"{name} is a pointer of Git LFS and not the file itself: get it with `git lfs p"
        _refused(lambda name=name: vocabulary_from_name(str(whole / name)).size, match)
        begun: list[int] = []

        def count(done: int, _: int, begun: list[int] = begun) -> None:
            begun.append(done)

        _refused(
            lambda count=count: convert(
                open_pretrained(whole), tmp_path / "out", "hf", written=count
            ),
            match,
        )
        assert not (tmp_path / "out").exists()
        assert not begun
        (whole / name).unlink()
    (tmp_path / "a.gguf").write_text(POINTER)
    _refused(lambda: open_pretrained(tmp_path / "a.gguf"), r"a.gguf is a pointer of Git LFS")
    (whole / "model.safetensors").write_text(POINTER)
    _refused(lambda: open_pretrained(whole), r"model.safetensors is a pointer of Git LFS")
    (whole / "model.safetensors").rename(whole / "model-00001-of-00001.safetensors")
    (whole / hugging_face.INDEX).write_text(POINTER)
    _refused(lambda: open_pretrained(whole), r"index.json is a pointer of Git LFS")
    (whole / "config.json").write_text(POINTER)
    _refused(lambda: open_pretrained(whole), r"config.json is a pointer of Git LFS")


@pytest.mark.parametrize("name", ["module", "orig_mod", "bare"])
def test_names_of_published_cases_are_read(shared_dir, name):
    opened = open_pretrained(shared_dir / "cases" / "45-prefix" / name)
    assert "decoder/token_embedder/embedding" in opened.arrays


@pytest.mark.parametrize(
    ("case", "files"),
    [
        ("43-index/stale", ["model.safetensors"]),
        (
            "43-index/wrong-map",
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        ("44-stray-file/adapter", ["model.safetensors"]),
        ("44-stray-file/consolidated", ["model.safetensors"]),
        ("44-stray-file/variant", ["model.safetensors"]),
    ],
)
def test_published_cases_are_opened(shared_dir, case, files):
    opened = open_pretrained(shared_dir / "cases" / case)
    assert [file.name for file in opened.files[1:]] == files


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("43-index/absent", r"1 of 2 shards are missing, first 'model-00002-of-00002"),
        ("42-lfs-pointer/weights", r"model.safetensors is a pointer of Git LFS"),
        ("42-lfs-pointer/model.gguf", r"model.gguf is a pointer of Git LFS"),
        ("52-packed-weights/bnb", r"quantised \(bitsandbytes, 4 bits, by config.json\); get the"),
        ("52-packed-weights/gptq", r"quantised \(gptq, 4 bits, by config.json\); get the model"),
        ("52-packed-weights/fp8", r"quantised \(fp8, by config.json\); get the model as it was"),
        ("52-packed-weights/fp8-no-scales", r"quantised \(compressed-tensors, by config.json\)"),
        (
            "54-vocabulary-rows/config-too-few",
            r"shape \[320, 32\], but .* \[318, 32\]: .* to 320",
        ),
    ],
)
def test_published_cases_are_refused_with_their_cause(shared_dir, case, message):
    _refused(lambda: open_pretrained(shared_dir / "cases" / case), message)
