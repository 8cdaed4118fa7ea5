"""Tiny models in Hugging Face's form, with random weights, for all tests of formats."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.checkpoints import families
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.lazy import in_memory

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "max_position_embeddings": 64,
    "torch_dtype": "float32",
}


def _random_arrays(config, dtype=np.float32, seed=0):
    generator = np.random.default_rng(seed)
    unrolled = dataclasses.replace(config, scan_layers=False)
    return {
        name: in_memory(generator.normal(0.5, 0.2, leaf.shape).astype(dtype))
        for name, leaf in trees.flatten(models.abstract_params(unrolled)).items()
    }


@pytest.fixture
def random_arrays():
    """Unrolled parameters by our names, none of them zero or one: `random_arrays(config)`."""
    return _random_arrays


@pytest.fixture
def write_hugging_face(tmp_path):
    """Writes a model with random weights: `write(config_json) -> its directory`."""

    def write(config=LLAMA, *, name="hf", dtype=np.float32, shard_bytes=20_000, seed=0):
        family = families.family_of(config, "test")
        model = family.read_config(config)
        theirs = families.export_tensors(family, model, _random_arrays(model, dtype, seed))
        directory = tmp_path / name
        directory.mkdir()
        hugging_face.write(
            directory, config, theirs, shard_bytes=shard_bytes, written=lambda _: None
        )
        (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
        return directory

    return write


@pytest.fixture
def llama_json():
    """A config.json that a test may change."""
    return dict(LLAMA)


@pytest.fixture
def bfloat16():
    """NumPy's bfloat16."""
    return np.dtype(ml_dtypes.bfloat16)
