"""Tensors are found under the names that training wrappers and tied weights leave them with."""

import ml_dtypes
import numpy as np
import pytest

from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory

T5 = {
    "model_type": "t5",
    "vocab_size": 40,
    "d_model": 16,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "d_kv": 8,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}


@pytest.fixture
def opened(write_hugging_face, llama_json):
    """Opens a model with random weights: `opened(changes or config) -> family, model, tensors`."""

    def open_model(config=None):
        config = config or llama_json
        directory = write_hugging_face(config)
        family = families.family_of(config, "test")
        arrays = hugging_face.open_arrays(hugging_face.weight_files(directory))
        return family, family.read_config(config), arrays

    return open_model


def _same(family, model, found, wanted):
    ours = families.import_tensors(family, model, found, "DIR")
    for name, array in families.import_tensors(family, model, wanted, "DIR").items():
        np.testing.assert_array_equal(ours[name].read(), array.read(), err_msg=name)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"_fsdp_wrapped_module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"student.model.{name}",
        lambda name: name.replace("layers.1.", "layers.1._checkpoint_wrapped_module."),
        lambda name: name.replace("self_attn.", "_orig_mod.self_attn."),
        lambda name: f"module.{name.removeprefix('model.')}",
    ],
)
def test_what_wrappers_put_around_names_is_taken_off(opened, wrap):
    family, model, theirs = opened()
    _same(family, model, {wrap(name): array for name, array in theirs.items()}, theirs)


def test_a_tensor_under_two_names_is_refused(opened):
    family, model, theirs = opened()
    twice = {**theirs, "_orig_mod.model.norm.weight": theirs["model.norm.weight"]}
    with pytest.raises(UserError, match=r"DIR: tensor 'model.norm.weight' is there twice"):
        families.import_tensors(family, model, twice, "DIR")


@pytest.mark.parametrize(
    "names",
    [["encoder.embed_tokens.weight"], ["decoder.embed_tokens.weight"], ["encoder", "decoder"]],
)
def test_an_encoder_decoder_without_its_shared_table_has_it_by_another_name(opened, names):
    """safetensors keeps one of the names of tied weights, and not always the first."""
    family, model, theirs = opened(T5)
    table = theirs["shared.weight"]
    names = [n if "." in n else f"{n}.embed_tokens.weight" for n in names]
    less = {name: array for name, array in theirs.items() if name != "shared.weight"}
    _same(family, model, {**less, **dict.fromkeys(names, table)}, theirs)
    other = in_memory(table.read() + 1)
    with pytest.raises(UserError, match=r"'shared.weight' is missing, .* which repeat it, differ"):
        families.import_tensors(
            family,
            model,
            {**less, "encoder.embed_tokens.weight": table, "decoder.embed_tokens.weight": other},
            "DIR",
        )


def test_a_tied_decoder_may_have_its_table_as_the_logits_matrix(opened, llama_json):
    family, model, theirs = opened(llama_json | {"tie_word_embeddings": True})
    moved = {("lm_head.weight" if "embed" in name else name): a for name, a in theirs.items()}
    _same(family, model, moved, theirs)


def test_the_logits_matrix_of_an_untied_model_is_not_its_table(opened):
    family, model, theirs = opened()
    less = {name: array for name, array in theirs.items() if "embed_tokens" not in name}
    with pytest.raises(UserError, match=r"'model.embed_tokens.weight' \[48, 16\] is missing"):
        families.import_tensors(family, model, less, "DIR")


QUERY = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        ("weight", np.uint8),
        ("weight", np.uint32),
        ("weight", ml_dtypes.float8_e4m3fn),
        ("weight.absmax", np.float32),
        ("weight.quant_state.bitsandbytes__nf4", np.uint8),
        ("qweight", np.int32),
        ("scales", np.float16),
        ("weight_scale_inv", np.float32),
        ("weight_packed", np.int32),
        ("SCB", np.float32),
    ],
)
def test_packed_weights_are_named_with_what_packed_them(opened, suffix, dtype):
    family, model, theirs = opened()
    name = f"{QUERY}.{suffix}"
    packed = {**theirs, name: in_memory(np.zeros((16, 16), dtype))}
    with pytest.raises(UserError) as error:
        families.import_tensors(family, model, packed, "DIR", quantised_by="awq, 4 bits")
    assert f"DIR: tensor {name!r} is " in str(error.value)
    assert "the weights are quantised (awq, 4 bits); get the model as it was" in str(error.value)


def test_adapters_within_a_model_are_named(opened):
    family, model, theirs = opened()
    wrapped = {name.replace("q_proj.", "q_proj.base_layer."): a for name, a in theirs.items()}
    with pytest.raises(UserError, match=r"is a part of PEFT's adapters within the model; merge"):
        families.import_tensors(family, model, wrapped, "DIR")


def test_what_a_model_says_of_packing(tmp_path):
    said = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    assert hugging_face.quantised_by(tmp_path, said) == "gptq, 4 bits, by config.json"
    assert hugging_face.quantised_by(tmp_path, {}) is None
    assert hugging_face.quantised_by(tmp_path, {"quantization_config": None}) is None
    mlx = {"quantization": {"group_size": 64, "bits": 4}}
    assert hugging_face.quantised_by(tmp_path, mlx) == "an unnamed method, 4 bits, by config.json"
    (tmp_path / "quant_config.json").write_text('{"w_bit": 4, "quant_method": "awq"}')
    assert hugging_face.quantised_by(tmp_path, {}) == "awq, 4 bits, by quant_config.json"
