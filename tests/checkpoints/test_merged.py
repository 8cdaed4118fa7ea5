"""A checkpoint of adapters is a model only together with the base that they were trained on."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import trees
from tlm_jax.checkpoints.base_model import BaseModel, Fingerprint
from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import native
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.models import lora
from tlm_jax.models.lora import LoraConfig

LORA = LoraConfig(rank=2, targets="attention/(query|value)$")


@pytest.fixture
def save_adapters(write_hugging_face, tmp_path):
    """Saves adapters on a tiny LLaMA: `save(**changes) -> (MODEL_DIR, base, merged parameters)`."""

    def save(settings=LORA, **changes):
        path = write_hugging_face(name="base")
        source = open_pretrained(path)
        config = dataclasses.replace(source.config, **changes)
        fingerprint = Fingerprint()

        def convert_parameter(name, array):
            array = jnp.asarray(array)
            fingerprint.add(name, array)
            return lora.freeze(config, settings, name, array)

        base = load_params(source, config, resize_vocabulary=True, convert=convert_parameter)
        noise = np.random.default_rng(1)
        adapters = jax.tree.map(
            lambda x: jnp.asarray(noise.normal(size=x.shape) * 0.1, jnp.float32),
            lora.init_adapters(jax.random.key(0), config, settings),
        )
        model_dir = tmp_path / "run"
        identity = BaseModel.of(str(path), fingerprint.text(), settings)
        manager = CheckpointManager(model_dir / "checkpoints", base=identity)
        manager.save(5, Items({"params": adapters, "step": np.int32(5)}))
        manager.close()
        (model_dir / native.MODEL_FILE).write_text(native.model_file_text(config))
        return model_dir, path, lora.merge(base, adapters, settings)

    return save


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (LORA, {}),
        (dataclasses.replace(LORA, quantization="nf4"), {"scan_layers": False}),
        (LORA, {"vocab_size": 64}),
        (LORA, {"vocab_size": 40}),
    ],
    ids=["float", "nf4_unscanned", "more_rows", "fewer_rows"],
)
def test_is_the_merged_model(save_adapters, settings, changes):
    model_dir, _, merged = save_adapters(settings, **changes)
    opened = open_pretrained(model_dir)
    found = load_params(opened, opened.config)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), found, merged)


def test_a_base_that_has_changed_is_refused(save_adapters, write_hugging_face, tmp_path):
    model_dir, base, _ = save_adapters()
    shutil.rmtree(base)
    write_hugging_face(name="base", seed=1)
    opened = open_pretrained(model_dir)
    message = (
        r"run holds adapters trained on .*base when its parameters were others \(fingerprint "
        r"[0-9a-f]{16}, now [0-9a-f]{16}\). Put back the model that they were trained on.$"
    )
    with pytest.raises(UserError, match=message) as error:
        load_params(opened, opened.config)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="holds adapters trained on"):
        convert(opened, tmp_path / "out", "hf")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_a_base_of_another_shape_is_refused(save_adapters, write_hugging_face, llama_json):
    model_dir, base, _ = save_adapters()
    shutil.rmtree(base)
    write_hugging_face(llama_json | {"intermediate_size": 32}, name="base")
    message = (
        r"base, which the adapters in .*run are for, is of a different model: "
        r"'decoder/decoder/mlp/wi_0/kernel' has shape \[16, 3, 32\] there and \[16, 3, 24\] in the "
        r"model that they were trained on"
    )
    with pytest.raises(UserError, match=message):
        open_pretrained(model_dir)


def test_a_base_that_is_gone_is_named(save_adapters):
    model_dir, base, _ = save_adapters()
    shutil.rmtree(base)
    with pytest.raises(UserError, match=r"holds adapters alone, on .*base, which is not there"):
        open_pretrained(model_dir)


def test_adapters_must_be_of_the_model_described(save_adapters):
    model_dir, _, _ = save_adapters()
    described = json.loads((model_dir / native.MODEL_FILE).read_text())
    described["model"]["num_heads"] = 8
    (model_dir / native.MODEL_FILE).write_text(json.dumps(described))
    with pytest.raises(UserError, match=r"query/lora_b' has shape .* in the model in model.json"):
        open_pretrained(model_dir)


def test_opening_reads_nothing_of_the_base(save_adapters):
    """The base is read, for its fingerprint, when the first parameter is."""
    model_dir, base, _ = save_adapters()
    opened = open_pretrained(model_dir)
    for file in base.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(FileNotFoundError):
        next(iter(opened.arrays.values())).read()
    assert trees.unflatten(opened.arrays)
