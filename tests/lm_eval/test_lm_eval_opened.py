"""What a model says of itself is found: tokenizer, template, window, ends; or one clear line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import pytest

from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.chat import render_chat
from tlm_jax.errors import UserError
from tlm_jax.lm_eval.arguments import parse_arguments
from tlm_jax.lm_eval.likelihood import Likelihoods
from tlm_jax.lm_eval.opened import open_model
from tlm_jax.lm_eval.rows import Rows
from tlm_jax.lm_eval.texts import Pair

PAIRS = [Pair([5, 6, 7], [8, 9]), Pair([5, 6, 7], [10]), Pair([11], [12, 13, 14])]


def opened_with(path, devices=1, **arguments):
    return open_model(
        parse_arguments({"pretrained": str(path), **arguments}), jax.devices()[:devices]
    )


@pytest.fixture
def copied(model_directories, tmp_path):
    """A copy of the decoder-only model that a test may damage."""
    return shutil.copytree(model_directories["decoder"], tmp_path / "model")


def test_window_and_ends_are_the_models_own(model_directories):
    decoder = opened_with(model_directories["decoder"])
    assert (decoder.window_tokens, decoder.eos_ids, decoder.encoder_decoder) == (64, (2,), False)
    encoder_decoder = opened_with(model_directories["encoder_decoder"])
    # mT5 says nothing of a window.
    assert (encoder_decoder.window_tokens, encoder_decoder.eos_ids) == (2048, (1,))
    assert opened_with(model_directories["decoder"], max_length=100).window_tokens == 100


def test_the_tokenizers_own_limit_is_a_window(copied):
    config = json.loads((copied / "config.json").read_text())
    del config["max_position_embeddings"]
    (copied / "config.json").write_text(json.dumps(config))
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    for limit, window in ((48, 48), (10**30, 2048)):
        settings["model_max_length"] = limit
        (copied / "tokenizer_config.json").write_text(json.dumps(settings))
        assert opened_with(copied).window_tokens == window


def test_a_window_beyond_the_positions_is_refused(model_directories):
    golden = Path(__file__).parents[1] / "golden/hf/gpt_neo"
    tokenizer = str(model_directories["decoder"])
    positions = opened_with(golden, tokenizer=tokenizer).window_tokens
    with pytest.raises(UserError, match=f"max_length=4000, but the model has {positions} posi"):
        opened_with(golden, tokenizer=tokenizer, max_length=4000)


def test_several_ends(copied):
    config = json.loads((copied / "config.json").read_text())
    config["eos_token_id"] = [7, 2]
    (copied / "config.json").write_text(json.dumps(config))
    assert opened_with(copied).eos_ids == (2, 7)


def test_the_decoder_starts_as_the_model_says(model_directories, tmp_path):
    assert opened_with(model_directories["encoder_decoder"]).start_id == 0
    changed = shutil.copytree(model_directories["encoder_decoder"], tmp_path / "model")
    config = json.loads((changed / "config.json").read_text())
    for start, expected in ((7, 7), (None, 0)):
        config["decoder_start_token_id"] = start
        (changed / "config.json").write_text(
            json.dumps({name: value for name, value in config.items() if value is not None})
        )
        assert opened_with(changed).start_id == expected


def test_a_tokenizer_elsewhere_brings_its_template(copied, model_directories):
    (copied / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer lies beside the .* add tokenizer=PATH"):
        opened_with(copied)
    (copied / "chat_template.jinja").unlink()
    model = opened_with(copied, tokenizer=str(model_directories["decoder"]))
    assert model.vocabulary.encode("w7").tolist() == [7]
    message = {"role": "user", "content": "w7"}
    assert render_chat([message], model.template) == "<s> user w7 </s> "


def test_a_model_without_template_is_named(copied):
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template") as caught:
        _ = opened_with(copied).template
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:1", "tpu"])
def test_another_device_than_there_is(device, model_directories):
    with pytest.raises(UserError, match=f"--device {device}: JAX runs on 'cpu'"):
        opened_with(model_directories["decoder"], device=device)


@pytest.mark.parametrize(("kind", "form"), [("decoder", "native"), ("encoder_decoder", "t5x")])
def test_every_format_gives_the_same_scores(kind, form, model_directories, opened, tmp_path):
    convert(open_pretrained(model_directories[kind]), tmp_path / form, form)
    model = opened_with(tmp_path / form, max_length=24)
    assert model.source.source_format == form
    scores = Likelihoods(model, Rows(4)).score(PAIRS)
    assert scores == Likelihoods(opened[kind], Rows(4)).score(PAIRS)


def test_a_mesh_gives_the_same_scores(model_directories, opened):
    """On eight devices, the parameters split four ways."""
    alone = Likelihoods(opened["decoder"], Rows(4)).score(PAIRS)
    model = opened_with(model_directories["decoder"], devices=8, fsdp=2, tensor=2)
    assert dict(model.mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    spread = Likelihoods(model, Rows(4, divisor=4)).score(PAIRS)
    for (logprob, greedy), (expected, same) in zip(spread, alone):
        assert logprob == pytest.approx(expected, abs=1e-5)
        assert greedy == same


def test_bfloat16_is_a_choice(model_directories):
    model = opened_with(model_directories["decoder"], dtype="bfloat16")
    assert model.config.dtype == "bfloat16"
    assert dataclasses.replace(model.config, dtype="float32") == model.source.config
