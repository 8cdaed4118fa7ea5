"""Everything that transformers recorded of tiny models of every family comes out the same here."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.formats.hugging_face import open_arrays, weight_files
from tlm_jax.conformance.hf_agreement import LOGITS, check_directory
from tlm_jax.conformance.hf_recording import HuggingFaceRecording, decoder_batch

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "scripts"
GOLDEN = REPOSITORY / "tests" / "golden" / "hf"
OURS = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
T5 = ["t5_v1_0", "t5_v1_1"]
SHARED = ["bloom", "gemma2", "gpt2", "gptj", "llama2_mha", "llama3_gqa", "opt", "qwen3", *T5]

EVERYWHERE = {"config.hub_v4.json", "logits", "loss", "grad_l2", "grad_global_norm", "greedy_ids"}
DECODER_ONLY = {"left_logits", "continuation_logprobs", "continuation_sum"}
ENCODER_DECODER = {"encoder_last_hidden_state", "target_logprobs", "long_logits_last8"}


def check(directory, *, beams):
    report = check_directory(directory, beams=beams)
    assert not [comparison for comparison in report.comparisons if not comparison.agrees]
    names = {comparison.name for comparison in report.comparisons}
    with np.load(directory / "reference.npz") as arrays:
        ours = DECODER_ONLY if "left_logits" in arrays else ENCODER_DECODER
        searches = {name for name in arrays if re.fullmatch(r"beam4.*_(ids|scores)", name)}
    assert names == EVERYWHERE | ours | {"greedy_margin"} | (searches if beams else set())
    assert report.not_compared == ([] if beams else sorted(searches))


@pytest.mark.parametrize("family", OURS)
def test_agrees_with_transformers(family):
    check(GOLDEN / family, beams=True)


@pytest.mark.parametrize("family", SHARED)
def test_agrees_with_shared_recordings(shared_dir, family):
    directory = shared_dir / "fixtures" / "hf" / family
    if not directory.is_dir():
        pytest.skip(f"no recorded outputs at {directory}")
    check(directory, beams=False)  # tests/decoding/test_beam.py has these


def test_recordings_are_small_and_no_weight_is_neutral():
    assert len(OURS) == 11
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*")) < 1_100_000
    for family in OURS:
        offset = 1.0 if family.startswith("gemma") else 0.0
        for name, array in open_arrays(weight_files(GOLDEN / family)).items():
            values = array.read().astype(np.float32)
            is_norm = values.ndim == 1 and name.endswith("weight")
            assert np.all(values != (1.0 - offset if is_norm else 0.0)), (family, name)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("mistral", {"attention_window": 9}),
        ("gpt_neo", {"windowed_layers": (True, True)}),
        ("gemma3_text", {"rotary_windowed_base": None}),
        ("gemma3_text", {"attention_scale": 8**-0.5}),
        ("llama_tied_linear_rope", {"rotary_scaling": None}),
        ("gpt_neox", {"rotary_base": 1000.0}),
    ],
)
def test_recordings_show_what_is_easily_missed(family, change):
    recording = HuggingFaceRecording.load(GOLDEN / family)
    arrays = recording.arrays
    mask = arrays["attention_mask"]
    batch = decoder_batch(arrays["input_ids"], mask, length=mask.shape[1])

    wrong = dataclasses.replace(recording.config, **change)
    found = jax.jit(models.logits, static_argnums=2)(recording.params, batch, wrong)
    assert np.abs(np.asarray(found) - arrays["logits"])[mask == 1].max() > 100 * LOGITS


def test_differences_are_found(tmp_path):
    directory = tmp_path / "gpt_neox"
    shutil.copytree(GOLDEN / "gpt_neox", directory)
    with np.load(directory / "reference.npz") as stored:
        arrays = dict(stored)
    arrays["left_logits"][1, -1, 3] += 2 * LOGITS
    arrays["logits"][1, -1, 3] += 1.0  # padding: not compared
    arrays["grad_l2"][2] *= 1.002
    arrays["greedy_ids"][0, -1] += 1  # nothing follows it
    arrays["other"] = np.zeros(3)
    np.savez(directory / "reference.npz", **arrays)
    hub = json.loads((directory / "config.hub_v4.json").read_text())
    (directory / "config.hub_v4.json").write_text(json.dumps({**hub, "rotary_emb_base": 500}))

    report = check_directory(directory)

    assert not report.agrees
    different = {c.name: c for c in report.comparisons if not c.agrees}
    assert different.keys() == {
        "config.hub_v4.json (rotary_base)",
        "left_logits",
        "grad_l2",
        "greedy_ids",
    }
    assert different["left_logits"].difference == pytest.approx(2 * LOGITS, rel=0.2)
    assert different["grad_l2"].difference == pytest.approx(0.002, rel=0.01)
    assert report.not_compared == ["other"]


def test_script_names_a_missing_recording(tmp_path):
    shutil.copy(GOLDEN / "gemma" / "config.json", tmp_path)
    finished = subprocess.run(
        [sys.executable, SCRIPTS / "check_agreement", tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": ""},
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"check_agreement: no {tmp_path / 'reference.npz'}")
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_recordings_are_made_again_the_same(tmp_path):
    if not (REPOSITORY / ".venv-peers" / "bin" / "python").exists():
        pytest.skip("no .venv-peers: scripts/setup peers makes it")
    script = SCRIPTS / "make_hf_fixtures"
    subprocess.run([script, tmp_path, "gpt_neo", "qwen2"], check=True, timeout=500)
    for family in ("gpt_neo", "qwen2"):
        made, kept = (path / family for path in (tmp_path, GOLDEN))
        for name in ("config.json", "config.hub_v4.json", "model.safetensors"):
            assert (made / name).read_bytes() == (kept / name).read_bytes()
        with np.load(made / "reference.npz") as new, np.load(kept / "reference.npz") as old:
            assert new.files == old.files
            for name in old.files:
                if old[name].dtype.kind == "f":
                    np.testing.assert_allclose(new[name], old[name], rtol=1e-4, atol=2e-5)
                else:
                    np.testing.assert_array_equal(new[name], old[name])
    finished = subprocess.run([script, tmp_path, "gpt_noe"], capture_output=True, text=True)
    assert finished.returncode == 1
    assert "no family 'gpt_noe'; known: mt5, " in finished.stderr
