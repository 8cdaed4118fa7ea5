"""A model is known by its content."""

import os
import shutil
from pathlib import Path

from tlm_jax.checkpoints import fingerprint
from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.fingerprint import model_fingerprint
from tlm_jax.checkpoints.pretrained import open_pretrained

LLAMA = Path(__file__).parents[1] / "golden" / "hf" / "llama_tied_linear_rope"


def test_a_model_trained_again_is_another_one_though_names_and_sizes_are_the_same(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    shutil.copytree(LLAMA, one)
    shutil.copytree(LLAMA, other)
    before = model_fingerprint(open_pretrained(one))
    assert model_fingerprint(open_pretrained(other)) == before
    weights = next(one.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1  # one weight, far from both ends of the file
    stamp = weights.stat().st_mtime_ns
    weights.write_bytes(content)
    os.utime(weights, ns=(stamp, stamp))
    assert model_fingerprint(open_pretrained(one)) != before


def test_what_a_manifest_has_checksums_of_is_not_read_for_another(tmp_path, monkeypatch):
    convert(open_pretrained(LLAMA), tmp_path / "one", "native")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    read = []
    monkeypatch.setattr(fingerprint, "file_digest", lambda path: read.append(path) or "")
    one, copy = (model_fingerprint(open_pretrained(tmp_path / name)) for name in ("one", "copy"))
    assert one == copy
    assert read == []
