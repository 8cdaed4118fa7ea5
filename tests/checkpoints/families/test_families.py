# pyright: reportAttributeAccessIssue=false
"""Every family reads both forms of config.json, and its tensors become ours and theirs again."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory

GOLDEN = Path(__file__).parents[2] / "golden" / "hf"
COMMITTED = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
SHARED = (
    *("t5_v1_0", "t5_v1_1", "bloom", "gemma2", "gpt2", "gptj", "llama2_mha", "llama3_gqa"),
    *("opt", "qwen3"),
)


@pytest.fixture(params=[*COMMITTED, *SHARED])
def directory(request):
    """A small model written by transformers."""
    if request.param in COMMITTED:
        return GOLDEN / request.param
    return request.getfixturevalue("shared_dir") / "fixtures" / "hf" / request.param


def _open(directory):
    config = hugging_face.read_config(directory)
    family = families.family_of(config, str(directory))
    arrays = hugging_face.open_arrays(hugging_face.weight_files(directory))
    return family, config, family.read_config(config), arrays


def test_both_forms_of_config_give_the_same_model(directory):
    family, _, model, _ = _open(directory)
    older = json.loads((directory / "config.hub_v4.json").read_text())
    assert families.model_differences(model, family.read_config(older)) == []


def test_what_is_written_of_a_model_describes_it(directory):
    family, _, model, _ = _open(directory)
    assert families.fits(family, model)
    assert families.same_model(family.read_config(family.write_config(model)), model)
    # mT5 is T5 1.1 by another name, so a model of ours becomes the latter.
    assert families.family_for(model).model_type == {"mt5": "t5"}.get(
        family.model_type, family.model_type
    )


def test_tensors_become_ours_and_the_same_tensors_again(directory):
    family, _, model, theirs = _open(directory)
    ours = families.import_tensors(family, model, theirs, "test")
    again = families.export_tensors(family, model, ours)
    assert again.keys() == theirs.keys()
    for name, array in theirs.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name].read(), array.read(), err_msg=name)


def test_a_part_of_a_tensor_is_the_part_of_the_whole(directory):
    """Meshes read parts, through fused and transposed views alike."""
    family, _, model, theirs = _open(directory)
    for name, array in families.import_tensors(family, model, theirs, "test").items():
        index = tuple(slice(size // 3, size // 3 + max(1, size // 2)) for size in array.shape)
        np.testing.assert_array_equal(array[index], array.read()[index], err_msg=name)


def test_the_bare_models_names_are_understood(directory):
    family, _, model, theirs = _open(directory)
    if not family.prefix:
        pytest.skip(f"{family.model_type} has no prefix")
    bare = {name.removeprefix(family.prefix): array for name, array in theirs.items()}
    assert bare.keys() != theirs.keys()
    ours = families.import_tensors(family, model, bare, "test")
    assert ours.keys() == families.import_tensors(family, model, theirs, "test").keys()


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gpt_neox", "gpt_neox.layers.1.attention.masked_bias"),
        ("t5", "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"),
    ],
)
def test_what_transformers_recomputes_is_passed_over(family, extra, write_hugging_face):
    model = _MODELS[family]
    directory = write_hugging_face(model)
    entry, _, config, theirs = _open(directory)
    ours = families.import_tensors(entry, config, theirs, "test")
    more = {**theirs, extra: in_memory(np.zeros((2, 2), np.float32))}
    assert families.import_tensors(entry, config, more, "test").keys() == ours.keys()


_MODELS = {
    "llama": {
        "model_type": "llama",
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "t5": {
        "model_type": "t5",
        "vocab_size": 40,
        "d_model": 16,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 2,
        "d_kv": 8,
        "tie_word_embeddings": False,
        "feed_forward_proj": "gated-gelu",
    },
}


def test_a_repeated_logits_matrix_is_dropped_if_it_is_the_embedding(write_hugging_face, llama_json):
    directory = write_hugging_face(llama_json | {"tie_word_embeddings": True})
    family, _, model, theirs = _open(directory)
    embedding = theirs["model.embed_tokens.weight"].read()
    ours = families.import_tensors(
        family, model, {**theirs, "lm_head.weight": in_memory(embedding)}, "DIR"
    )
    assert not any("logits_dense" in name for name in ours)
    with pytest.raises(UserError, match=r"tie_word_embeddings.*differs from the token embedding"):
        families.import_tensors(
            family, model, {**theirs, "lm_head.weight": in_memory(embedding + 1)}, "DIR"
        )


def test_misfits_name_the_tensor_and_both_shapes(write_hugging_face):
    family, _, model, theirs = _open(write_hugging_face())
    name = "model.layers.1.self_attn.k_proj.weight"
    less = {key: array for key, array in theirs.items() if key != name}
    with pytest.raises(UserError, match=rf"DIR: tensor '{name}' \[8, 16\] is missing"):
        families.import_tensors(family, model, less, "DIR")
    less["model.layers.1.self_attn.k_porj.weight"] = theirs[name]
    with pytest.raises(UserError, match=r"Did you mean 'model.layers.1.self_attn.k_porj.weight'"):
        families.import_tensors(family, model, less, "DIR")
    more = {**theirs, "model.layers.3.mlp.gate_proj.weight": theirs[name]}
    with pytest.raises(UserError, match=r"'model.layers.3.mlp.gate_proj.weight' \[8, 16\] is not"):
        families.import_tensors(family, model, more, "DIR")
    wider = dataclasses.replace(model, mlp_dim=32)
    with pytest.raises(
        UserError, match=r"gate_proj.weight' has shape \[24, 16\].*gives \[32, 16\]"
    ):
        families.import_tensors(family, wider, theirs, "DIR")


def test_unknown_architectures_list_the_known_ones():
    with pytest.raises(
        UserError, match=r"unknown architecture \(lama\).*bloom.*Did you mean 'llama'"
    ):
        families.family_of({"model_type": "lama"}, "config.json")
    with pytest.raises(UserError, match=r"\(MambaForCausalLM\); known: bloom"):
        families.family_of({"architectures": ["MambaForCausalLM"]}, "config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "mish"}, r"activation 'mish'; expected one of relu, gelu"),
        ({"hidden_size": None}, r"config.json has no 'hidden_size'"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, r"by 'yarn'; expected 'default'"),
        ({"rope_scaling": {"type": "linear"}}, r"config.json has no 'factor'"),
        ({"rope_scaling": 3}, r"rope_scaling=3; expected an object with fields"),
        ({"hidden_size": "64"}, r"hidden_size='64'; expected a whole number from 1 to 10,000,000"),
        ({"num_attention_heads": 0}, r"num_attention_heads=0; expected a whole number"),
        ({"num_key_value_heads": True}, r"num_key_value_heads=True; expected a whole number"),
        ({"num_hidden_layers": 10**12}, r"num_hidden_layers=1000000000000; expected .*10,000$"),
        ({"rms_norm_eps": "1e-6"}, r"rms_norm_eps='1e-6'; expected a number above 0"),
        ({"rope_theta": float("nan")}, r"rope_theta=nan; expected a number above 0"),
        ({"tie_word_embeddings": "yes"}, r"tie_word_embeddings='yes'; expected true or false"),
        ({"hidden_act": []}, r"hidden_act=\[\]; expected a name"),
    ],
)
def test_what_our_models_do_not_do_is_refused(changes, message, llama_json):
    with pytest.raises(UserError, match=message):
        families.FAMILIES["llama"].read_config(llama_json | changes)


@pytest.mark.parametrize(
    ("family", "said", "window"),
    [
        # As MistralConfig and Qwen2Config of transformers 5 have it, absent, null and said.
        ("mistral", {}, 4096),
        ("mistral", {"sliding_window": None}, None),
        ("mistral", {"sliding_window": 5}, 5),
        ("qwen2", {}, None),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, 4096),
        ("qwen3", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 5}, 5),
        ("qwen2", {"use_sliding_window": True, "sliding_window": None}, None),
        (
            "qwen3",
            {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
            None,
        ),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 5}, None),
        ("gemma2", {}, 4096),
        ("gemma3_text", {}, 4096),
    ],
)
def test_an_absent_window_and_none_are_two_things(family, said, window, llama_json):
    config = llama_json | {"num_key_value_heads": 4} | said
    assert families.FAMILIES[family].read_config(config).attention_window == window


@pytest.mark.parametrize(
    ("family", "absent"),
    [
        ("llama", 64),
        ("mistral", 8),
        ("qwen2", 32),
        ("qwen3", 32),
        ("gemma", 16),
        ("gemma2", 4),
        ("gemma3_text", 4),
    ],
)
def test_an_absent_number_of_key_heads_and_null_are_two_things(family, absent, llama_json):
    config = llama_json | {"num_attention_heads": 64, "hidden_size": 256}
    del config["num_key_value_heads"]
    read = families.FAMILIES[family].read_config
    assert read(config).kv_heads == absent
    assert read(config | {"num_key_value_heads": None}).kv_heads == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sliding_window": None}, r"sliding_window=null; expected the window of its layers"),
        ({"use_bidirectional_attention": True}, r"only False is supported \(a text is read"),
    ],
)
@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_what_gemmas_do_not_do_is_refused(family, changes, message, llama_json):
    with pytest.raises(UserError, match=message):
        families.FAMILIES[family].read_config(llama_json | changes)


def test_more_layers_than_tensors_are_refused_before_they_are_listed(llama_json):
    llama = families.FAMILIES["llama"]
    config = llama.read_config(llama_json | {"num_hidden_layers": 9_999})
    with pytest.raises(UserError, match=r"here: its configuration has 9,999 layers, but there are"):
        families.import_tensors(llama, config, {}, "here")


def test_quantised_tensors_are_named(write_hugging_face):
    directory = write_hugging_face()
    config = hugging_face.read_config(directory)
    llama = families.family_of(config, "config.json")
    arrays = hugging_face.open_arrays(hugging_face.weight_files(directory))
    arrays["model.norm.weight"] = in_memory(np.ones(arrays["model.norm.weight"].shape, np.int8))
    with pytest.raises(UserError, match=r"'model.norm.weight' is int8; expected floating point"):
        families.import_tensors(llama, llama.read_config(config), arrays, "here")


def test_a_prefix_lm_is_no_causal_model():
    config = models.DecoderOnlyConfig(
        vocab_size=16, embed_dim=8, num_layers=1, num_heads=2, head_dim=4, mlp_dim=8, prefix_lm=True
    )
    causal = dataclasses.replace(config, prefix_lm=False)
    assert families.model_differences(config, causal) == ["prefix_lm: True and False"]
    assert families.family_for(causal).model_type == "llama"
    with pytest.raises(UserError, match=r"is a prefix LM \(prefix_lm=True"):
        families.family_for(config)


def test_a_model_that_no_family_expresses_is_refused():
    config = models.DecoderOnlyConfig(
        vocab_size=16,
        embed_dim=8,
        num_layers=1,
        num_heads=2,
        head_dim=4,
        mlp_dim=8,
        position="none",
    )
    with pytest.raises(UserError, match=r"no known Hugging Face architecture does exactly what"):
        families.family_for(config)
