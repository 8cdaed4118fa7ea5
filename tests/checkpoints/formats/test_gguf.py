"""A Llama in GGUF is the Llama it was converted from: names, order of rows, configuration."""

import gguf
import numpy as np
import pytest

from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.formats.gguf import open_gguf
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError

GGUF_NAMES = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 4)


def _interleaved(weights, num_heads):
    """What llama.cpp's converter does to query and key projections."""
    halves = weights.reshape(num_heads, 2, weights.shape[0] // num_heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def _hugging_face_arrays(config, arrays):
    family = families.family_of(config, "test")
    model = family.read_config(config)
    theirs = families.export_tensors(family, model, arrays(model))
    return {name: array.read() for name, array in theirs.items()}


def _write(path, config, arrays, *, kind=None, extra=None, architecture="llama", **more):
    """Writes a model as llama.cpp's converter does, with the gguf package's table of names."""
    writer = gguf.GGUFWriter(path, architecture)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    for name, (method, value) in more.items():
        getattr(writer, method)(f"llama.{name.replace('__', '.')}", value)
    for name, array in arrays.items():
        if "q_proj" in name or "k_proj" in name:
            array = _interleaved(array, heads if "q_proj" in name else kv_heads)
        stored = GGUF_NAMES.get_name(name, try_suffixes=(".weight", ".bias"))
        if kind is not None and array.ndim == 2:
            writer.add_tensor(stored, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(stored, array)
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def llama(llama_json):
    return llama_json | {"hidden_size": 32, "intermediate_size": 64, "bos_token_id": None}


@pytest.mark.parametrize("changes", [
    {},
    {"tie_word_embeddings": True},
    {"attention_bias": True, "mlp_bias": True},
    {"num_key_value_heads": 4},
], ids=["grouped", "tied", "biases", "every head"])  # fmt: skip
def test_same_model_and_tensors_as_the_hugging_face_model(tmp_path, llama, random_arrays, changes):
    config = llama | changes
    theirs = _hugging_face_arrays(config, random_arrays)
    opened = open_gguf(_write(tmp_path / "x.gguf", config, theirs))
    assert opened.arrays.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(opened.arrays[name].read(), array, err_msg=name)
    family = families.family_of(opened.config, "test")
    expected = families.family_of(config, "test").read_config(config)
    found = family.read_config(opened.config)
    assert found.norm_epsilon == pytest.approx(expected.norm_epsilon, rel=1e-6)
    assert families.same_model(
        found, family.read_config(config | {"rms_norm_eps": found.norm_epsilon})
    )
    assert opened.companions == {}


def test_parts_of_permuted_rows(tmp_path, llama, random_arrays):
    theirs = _hugging_face_arrays(llama, random_arrays)
    opened = open_gguf(_write(tmp_path / "x.gguf", llama, theirs))
    name = "model.layers.1.self_attn.q_proj.weight"
    np.testing.assert_array_equal(opened.arrays[name][3:13, 5:6], theirs[name][3:13, 5:6])


def test_quantised_weights_come_near(tmp_path, llama, random_arrays):
    theirs = _hugging_face_arrays(llama, random_arrays)
    path = _write(tmp_path / "x.gguf", llama, theirs, kind=gguf.GGMLQuantizationType.Q8_0)
    opened = open_gguf(path)
    for name, array in theirs.items():
        found = opened.arrays[name].read()
        assert found.dtype == np.float32
        # Values up to about 1.5, in 127 steps.
        np.testing.assert_allclose(found, array, atol=0.01, err_msg=name)
    ours = open_pretrained(path).arrays["decoder/layers_2/self_attention/key/kernel"]
    found = opened.arrays["model.layers.2.self_attn.k_proj.weight"].read()
    np.testing.assert_array_equal(ours.read(), found.T)


def test_linear_scaling_in_both_forms(tmp_path, llama, random_arrays):
    theirs = _hugging_face_arrays(llama, random_arrays)
    forms = [
        {"rope__scaling__type": ("add_string", "linear"),
         "rope__scaling__factor": ("add_float32", 4.0)},
        {"rope__scale_linear": ("add_float32", 4.0)},
    ]  # fmt: skip
    for number, form in enumerate(forms):
        opened = open_gguf(_write(tmp_path / f"{number}.gguf", llama, theirs, **form))
        assert opened.config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    none = {"rope__scaling__type": ("add_string", "none")}
    opened = open_gguf(_write(tmp_path / "none.gguf", llama, theirs, **none))
    assert opened.config["rope_scaling"] is None


def _factors_as_llama_cpp_writes(factor, base, head_dim, low=1.0, high=4.0, old=8192):
    """Frequency by frequency, after Llama 3.1's published code."""
    factors = []
    for number in range(0, head_dim, 2):
        wavelength = 2 * np.pi * base ** (number / head_dim)
        if wavelength < old / high:
            factors.append(1.0)
        elif wavelength > old / low:
            factors.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.float32(factors)


def test_llama3_scaling_is_told_by_its_factors(tmp_path, llama, random_arrays):
    config = llama | {"hidden_size": 256, "rope_theta": 500_000.0}
    theirs = _hugging_face_arrays(config, random_arrays)
    factors = _factors_as_llama_cpp_writes(32.0, 500_000.0, 64)
    assert 2 < np.sum((factors > 1) & (factors < 32)) < 20
    extra = {"rope_freqs.weight": factors}
    opened = open_gguf(_write(tmp_path / "x.gguf", config, theirs, extra=extra))
    assert opened.config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert opened.arrays.keys() == theirs.keys()
    other = _factors_as_llama_cpp_writes(32.0, 500_000.0, 64, old=4096)
    with pytest.raises(UserError, match=r"rope_freqs\.weight, not those of Llama 3, cannot be re"):
        open_gguf(_write(tmp_path / "y.gguf", config, theirs, extra={"rope_freqs.weight": other}))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"architecture": "qwen2"}, r"of architecture 'qwen2'; .*only 'llama' .*Hugging Face dir"),
        ({"expert_count": ("add_uint32", 8)}, "is a mixture of experts; only dense models"),
        ({"attention__value_length": ("add_uint32", 4)}, r"has llama.attention.value_length=4; on"),
        ({"rope__dimension_count": ("add_uint32", 4)}, r"has llama.rope.dimension_count=4; only"),
        ({"rope__scaling__type": ("add_string", "yarn")}, "rotary scaling of type 'yarn' cannot"),
        ({"rope__scale_linear": ("add_string", "2")}, "rope.scale_linear is '2'; expected a numb"),
        ({"rope__scale_linear": ("add_float32", float("nan"))}, "rope.scale_linear is nan; expect"),
        ({"rope__scale_linear": ("add_float32", -1.0)}, r"llama.rope.scale_linear is -1\.0; expec"),
        ({"attention__key_length": ("add_float32", 8.0)}, r"key_length is 8\.0; expected one int"),
    ],
)  # fmt: skip
def test_other_models_are_refused(tmp_path, llama, random_arrays, more, message):
    theirs = _hugging_face_arrays(llama, random_arrays)
    with pytest.raises(UserError, match=message) as raised:
        open_gguf(_write(tmp_path / "x.gguf", llama, theirs, **more))
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_missing_or_unknown_is_named(tmp_path, llama, random_arrays):
    theirs = _hugging_face_arrays(llama, random_arrays)
    writer = gguf.GGUFWriter(tmp_path / "bare.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"bare\.gguf: llama\.attention\.head_count is missing"):
        open_gguf(tmp_path / "bare.gguf")
    extra = {"blk.0.attn_q_norm.weight": np.ones(8, np.float32)}
    path = _write(tmp_path / "x.gguf", llama, theirs, extra=extra)
    with pytest.raises(UserError, match=r"tensor 'blk\.0\.attn_q_norm\.weight' .*not expected in"):
        open_pretrained(path)


def test_parts_of_a_split_file_are_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match="is one of 3 parts; join them first: llama-gguf-split"):
        open_gguf(tmp_path / "x.gguf")


def test_number_of_heads_by_layer_must_be_one_number(tmp_path, llama, random_arrays):
    theirs = _hugging_face_arrays(llama, random_arrays)
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {
        "block_count": 3,
        "context_length": 64,
        "embedding_length": 32,
        "feed_forward_length": [64, 64, 64],
        "attention.head_count": 4,
        "attention.head_count_kv": [2, 2, 4],
    }.items():
        if isinstance(value, list):
            writer.add_array(f"llama.{name}", value)
        else:
            writer.add_uint32(f"llama.{name}", value)
    writer.add_tensor("token_embd.weight", theirs["model.embed_tokens.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"head_count_kv is \[2, 2, 4\]; expected one integer"):
        open_gguf(path)
