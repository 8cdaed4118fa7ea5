"""Adapters that cannot be read or written are refused in one line."""

import json
import shutil

import numpy as np
import pytest
from peft_adapters import ADAPTERS, Q0, opened

from tlm_jax.checkpoints import peft, peft_config
from tlm_jax.checkpoints.formats.safetensors_files import SafetensorsWriter, open_safetensors
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory


@pytest.fixture
def damaged(tmp_path):
    """Returns a copy of an adapter with fields of its config, or tensors, replaced."""

    def make(fields=None, tensors=None):
        shutil.copytree(ADAPTERS / "llama_tied_linear_rope", tmp_path / "a")
        path = tmp_path / "a" / peft_config.FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | (fields or {})))
        if tensors is not None:
            weights = tmp_path / "a" / peft.WEIGHTS
            arrays = {name: array.read() for name, array in open_safetensors(weights).items()}
            arrays = {n: x for n, x in (arrays | tensors).items() if x is not None}
            with SafetensorsWriter(weights, {n: in_memory(x) for n, x in arrays.items()}) as writer:
                for name, array in arrays.items():
                    writer.write(name, (), array)
        return tmp_path / "a"

    return make


@pytest.mark.parametrize(
    ("fields", "tensors", "message"),
    [
        ({"peft_type": "IA3"}, None, "peft_type is 'IA3', expected 'LORA'"),
        ({"use_dora": True}, None, "use_dora is True, expected False"),
        ({"bias": "all"}, None, "bias is 'all', expected 'none'"),
        ({"modules_to_save": ["lm_head"]}, None, "only adapters are read"),
        (
            {"layer_replication": [[0, 2]]},
            None,
            r"layer_replication is .*, expected None",
        ),
        ({"alora_invocation_tokens": [5]}, None, r"alora_invocation_tokens is \[5\], expected"),
        ({"init_lora_weights": "pissa_niter_16"}, None, "with which the base's weights were chang"),
        ({"lora_alpha": None}, None, "lora_alpha is None, expected a number above 0"),
        ({"lora_alpha": True}, None, "lora_alpha is True, expected a number above 0"),
        ({"lora_dropout": "0.1"}, None, "lora_dropout is '0.1', expected a number from 0 to"),
        ({"alpha_pattern": [1]}, None, r"alpha_pattern is \[1\], expected an object"),
        ({"alpha_pattern": {"q": 0}}, None, "alpha_pattern of 'q' is 0, expected a number above"),
        ({"alpha_pattern": {"(": 1}}, None, r"'\(' in alpha_pattern is no regular expression"),
        (None, {f"{Q0}.lora_A.weight": None}, "A and B of .*q_proj' do not fit: None"),
        (
            None,
            {f"{Q0}.lora_A.weight": np.zeros(4, np.float32)},
            r"A and B of .*q_proj' do not fit: \[4\], \[",
        ),
        (
            None,
            {f"{Q0}.lora_A.weight": np.full((4, 32), np.nan, np.float32)},
            r"parameter '.*q_proj.lora_A.weight' holds 128 values that are NaN or infinite",
        ),
        (
            None,
            {f"{Q0}.lora_B.bias": np.zeros(4, np.float32)},
            "q_proj.lora_B.bias' is not the A or B",
        ),
        (
            None,
            {
                "base_model.model.lm_head.lora_A.weight": np.zeros((4, 32), np.float32),
                "base_model.model.lm_head.lora_B.weight": np.zeros((128, 4), np.float32),
            },
            "adapter of 'lm_head', which a LlamaForCausalLM of this size has not as a projection",
        ),
        (
            None,
            {f"{Q0}.lora_A.weight": None, f"{Q0}.lora_B.weight": None},
            r"/a: of \d layers only \[1.*\] have an adapter at 'decoder/lay.* SCAN_LAYERS to",
        ),
        ({"lora_bias": True}, None, "lora_bias is True, expected False; merge them into"),
        (
            {"trainable_token_indices": [5]},
            None,
            r"trainable_token_indices is \[5\], expected None",
        ),
        (
            None,
            {"base_model.model.model.embed_tokens.weight": np.zeros((4, 4), np.float32)},
            r"is the base's own matrix of tokens, saved beside the adapters .*; merge them into",
        ),
        (
            None,
            {f"{Q0}.lora_A.weight": np.zeros((4, 7), np.float32)},
            r"q_proj' has A \[4, 7\] .* the model's projection is",
        ),
    ],
)
def test_bad_adapters_are_refused_in_one_line(damaged, fields, tensors, message):
    _, config, family = opened("llama_tied_linear_rope")
    with pytest.raises(UserError, match=message) as error:
        peft.read_adapters(damaged(fields, tensors), config, family=family)
    assert "\n" not in str(error.value)


def test_a_pickle_of_adapters_is_refused_with_the_way_out(tmp_path):
    _, config, family = opened("llama_tied_linear_rope")
    shutil.copy(ADAPTERS / "llama_tied_linear_rope" / peft_config.FILE, tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"adapter_model.bin is a pickle, .* safe_serialization"):
        peft.read_adapters(tmp_path, config, family=family)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("some-layers", r"some-layers: of 2 layers only \[1\] have an adapter .* SCAN_LAYERS"),
        ("embeddings", r"matrix of tokens, saved beside the adapters"),
        ("bin-only", r"adapter_model.bin is a pickle"),
        ("dora", r"use_dora is True, expected False; merge them"),
        ("ia3", r"peft_type is 'IA3', expected 'LORA'; merge them"),
        ("lora-bias", r"lora_bias is True, expected False; merge them"),
        ("lm-head", r"adapter of 'lm_head', which .*merge them"),
        ("modules-to-save", r"modules_to_save is .* merge them"),
        ("trainable-tokens", r"trainable_token_indices is \[5, 6\].* merge them"),
        ("alpha-null", r"lora_alpha is None, expected a number above 0: set it to the one that"),
    ],
)
def test_published_adapters_are_refused_with_a_way_out(shared_dir, case, message):
    cases = shared_dir / "cases" / "60-peft"
    config = open_pretrained(cases / "base").config
    with pytest.raises(UserError, match=message):
        peft.read_adapters(cases / case, config)


def test_missing_files(tmp_path):
    _, config, _ = opened("llama_tied_linear_rope")
    with pytest.raises(UserError, match=r"adapter_config.json is missing: expected adapters"):
        peft.read_adapters(tmp_path, config)
    shutil.copy(ADAPTERS / "llama_tied_linear_rope" / peft_config.FILE, tmp_path)
    with pytest.raises(UserError, match=r"adapter_model.safetensors is missing: .*in safetensors"):
        peft.read_adapters(tmp_path, config)
