# pyright: reportArgumentType=false
"""Adapters made by PEFT do here what they do there, and ours do there what they do here."""

import json
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peft_adapters import ADAPTERS, MODELS, Q0, ROOT, opened
from tiny_models import decoder_only

from tlm_jax import models, trees
from tlm_jax.checkpoints import families, peft, peft_config
from tlm_jax.checkpoints.formats.safetensors_files import SafetensorsWriter, open_safetensors
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.models import lora
from tlm_jax.models.lora import LoraConfig

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
NAMES = ["llama_tied_linear_rope", "gpt_neox", "mt5"]


def _logits(source, config, adapters, settings):
    """Returns logits of the adapted model for the inputs of reference.npz, and which are real."""
    params = jax.tree.map(jnp.asarray, load_params(source, config))
    whole = lora.attach(params, jax.tree.map(jnp.asarray, adapters), settings)
    inputs = np.load(MODELS / source.path.name / "reference.npz")
    tokens = jnp.asarray(inputs["input_ids"], jnp.int32)
    segments = jnp.asarray(inputs["attention_mask"], jnp.int32)
    if "decoder_input_ids" in inputs:
        decoded = jnp.asarray(inputs["decoder_input_ids"], jnp.int32)
        batch = {
            "encoder_input_tokens": tokens,
            "encoder_segment_ids": segments,
            "decoder_input_tokens": decoded,
            "decoder_target_tokens": decoded,
            "decoder_segment_ids": jnp.ones_like(decoded),
        }
        return models.logits(whole, batch, config), np.ones(decoded.shape, bool)
    batch = {
        "decoder_input_tokens": tokens,
        "decoder_target_tokens": tokens,
        "decoder_segment_ids": segments,
        "decoder_positions": jnp.asarray(inputs["position_ids"], jnp.int32),
    }
    return models.logits(whole, batch, config), inputs["attention_mask"] == 1


@pytest.mark.parametrize("scan_layers", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_adapters_of_peft_give_its_logits(name, scan_layers):
    source, config, family = opened(name, scan_layers=scan_layers)
    adapters, settings = peft.read_adapters(ADAPTERS / name, config, family=family)
    found, real = _logits(source, config, adapters, settings)
    expected = np.load(ADAPTERS / name / "logits.npz")["logits"]
    np.testing.assert_allclose(np.asarray(found)[real], expected[real], atol=1e-4)
    # The adapters matter.
    assert np.abs(expected - np.load(MODELS / name / "reference.npz")["logits"])[real].max() > 0.1


@pytest.mark.parametrize("scan_layers", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_reading_what_was_written_is_exact(name, scan_layers, tmp_path):
    _, config, family = opened(name, scan_layers=scan_layers)
    adapters, settings = peft.read_adapters(ADAPTERS / name, config, family=family)
    peft.write_adapters(tmp_path, adapters, config, settings, family=family)
    again, same = peft.read_adapters(tmp_path, config, family=family)
    jax.tree.map(np.testing.assert_array_equal, again, adapters)
    assert same == settings


def test_same_tensors_go_out_as_came_in(tmp_path):
    _, config, family = opened("gpt_neox")
    adapters, settings = peft.read_adapters(ADAPTERS / "gpt_neox", config, family=family)
    peft.write_adapters(tmp_path, adapters, config, settings, family=family)
    ours = open_safetensors(tmp_path / peft.WEIGHTS)
    theirs = open_safetensors(ADAPTERS / "gpt_neox" / peft.WEIGHTS)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name].read(), array.read())


def _new_adapters(config, settings):
    adapters = lora.init_adapters(jax.random.key(0), config, settings)
    noise = np.random.default_rng(0).normal(size=4096).astype(np.float32) * 0.1
    return jax.tree.map(lambda x: np.asarray(x) + noise[: x.size].reshape(x.shape), adapters)


def test_peft_gives_the_logits_of_our_adapters(tmp_path):
    """Queries, keys and values with adapters of their own, where PEFT has one for all three."""
    if not PYTHON.is_file():
        pytest.skip("no .venv-peers: run scripts/setup peers")
    settings = LoraConfig(
        rank=3, alpha=6.0, targets="attention/(query|value)|wo", rank_stabilized=True
    )
    expected, arguments = {}, []
    for name in NAMES:
        source, config, family = opened(name)
        adapters = _new_adapters(config, settings)
        expected[name] = _logits(source, config, adapters, settings)
        peft.write_adapters(tmp_path / name, adapters, config, settings, family=family)
        arguments.append(f"{MODELS / name}={tmp_path / name}")
    worker = Path(__file__).with_name("worker_peft.py")
    output = tmp_path / "logits.npz"
    done = subprocess.run(
        [PYTHON, worker, output, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(output)
    for name, (logits, real) in expected.items():
        np.testing.assert_allclose(found[name][real], np.asarray(logits)[real], atol=1e-4)


def test_config_is_as_people_write_it(tmp_path):
    _, config, family = opened("llama_tied_linear_rope", scan_layers=False)
    settings = LoraConfig(targets="query$|layers_0/.*/value$")
    adapters = lora.init_adapters(jax.random.key(0), config, settings)
    peft.write_adapters(tmp_path, adapters, config, settings, family=family, base_path="llama")
    content = json.loads((tmp_path / peft_config.FILE).read_text())
    assert content["target_modules"] == ["model.layers.0.self_attn.v_proj", "q_proj"]
    assert content["base_model_name_or_path"] == "llama"
    assert (content["r"], content["lora_alpha"], content["task_type"]) == (8, 16.0, "CAUSAL_LM")


def test_adapters_of_a_prefix_lm_are_not_written_for_a_causal_model(tmp_path):
    config = decoder_only(40, prefix_lm=True)
    settings = LoraConfig(rank=2)
    adapters = lora.init_adapters(jax.random.key(0), config, settings)
    with pytest.raises(UserError, match=r"is a prefix LM"):
        peft.write_adapters(tmp_path / "a", adapters, config, settings)
    # Those of the causal model can be begun with: names and shapes are the same.
    peft.write_adapters(tmp_path / "a", adapters, families.causal(config), settings)
    read, _ = peft.read_adapters(tmp_path / "a", config)
    assert trees.flatten(read).keys() == trees.flatten(adapters).keys()


@pytest.mark.parametrize(
    "name",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: name.replace(".weight", ".default.weight"),
    ],
)
def test_names_that_training_left_are_understood(tmp_path, name):
    _, config, family = opened("llama_tied_linear_rope")
    directory = ADAPTERS / "llama_tied_linear_rope"
    shutil.copytree(directory, tmp_path / "a")
    arrays = {name(n): x for n, x in open_safetensors(directory / peft.WEIGHTS).items()}
    with SafetensorsWriter(tmp_path / "a" / peft.WEIGHTS, arrays) as writer:
        for wrapped, array in arrays.items():
            writer.write(wrapped, (), array.read())
    found, _ = peft.read_adapters(tmp_path / "a", config, family=family)
    wanted, _ = peft.read_adapters(directory, config, family=family)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize("case", ["plain", "orig-mod", "all-linear", "rslora-patterns"])
def test_published_adapters_are_read(shared_dir, case):
    cases = shared_dir / "cases" / "60-peft"
    peft.read_adapters(cases / case, open_pretrained(cases / "base").config)


def test_ranks_that_differ_are_filled_up(tmp_path):
    _, config, family = opened("llama_tied_linear_rope")
    adapters, settings = peft.read_adapters(
        ADAPTERS / "llama_tied_linear_rope", config, family=family
    )
    # q_proj: rank 4, 3 / 4; down_proj: rank 2, 6 / 2.
    assert (settings.rank, settings.scale) == (4, 3.0)
    flat = trees.flatten(adapters)
    assert not flat["decoder/decoder/mlp/wo/lora_a"][..., 2:].any()
    assert not flat["decoder/decoder/mlp/wo/lora_b"][2:].any()
    theirs = open_safetensors(ADAPTERS / "llama_tied_linear_rope" / peft.WEIGHTS)
    np.testing.assert_array_equal(
        flat["decoder/decoder/self_attention/query/lora_b"][:, 0],
        theirs[f"{Q0}.lora_B.weight"].read().T / 4,
    )
