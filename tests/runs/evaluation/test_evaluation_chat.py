"""With CHAT an evaluation asks as `tlm_jax.infer` does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tlm_jax import infer
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.evaluation.batching import eval_batches
from tlm_jax.evaluation.eval_set import load_eval_sets
from tlm_jax.runs.evaluation.conversations import as_conversations
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompts import load_prompts
from tlm_jax.runs.inference.tokens import PromptEncoder
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.settings import ModelSettings

TASK = "creak_answer_zero_shot"
TEMPLATE = (
    "<s> {% for m in messages %}{{ 'The' if m.role == 'system' else 'Q:' }} {{ m.content }} "
    "{% endfor %}So"
)


@pytest.fixture(scope="module", params=["one", "t5"])
def chatty(request, world, tmp_path_factory) -> Path:
    """A model with a chat template."""
    model = tmp_path_factory.mktemp("chat") / request.param
    shutil.copytree(world / request.param, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    return model


@pytest.mark.parametrize("system", [None, "dogs sing"])
def test_the_tokens_are_those_of_infer(chatty, world, system):
    with OpenedModel(ModelSettings(str(chatty))) as model:
        asked = load_prompts(
            PromptsConfig(
                mixture_or_task_name=TASK,
                split="validation",
                data_dir=str(world / "data"),
                chat=True,
                system=system,
            ),
            model.vocabulary,
            model.reading,
        )
        encoder = PromptEncoder(model, too_long="error", longest=None)
        wanted = {prompt.id: encoder.encode(prompt) for prompt in asked}
        plain = _questions(model, world)
        found = as_conversations(plain, model, system)
        inputs = found.examples.features["inputs"]
        tokens = {name: inputs[i].tolist() for i, name in enumerate(found.examples.ids)}
        assert tokens == wanted
        begun = model.vocabulary.encode("<s> The dogs sing Q:" if system else "<s> Q:")
        assert tokens["creak_dev-0"][: len(begun)] == begun.tolist()
        for batch in eval_batches(found, model.config, 8):  # as they reach the model
            encoder_decoder = model.config.is_encoder_decoder
            rows = batch.prompts[
                "encoder_input_tokens" if encoder_decoder else "decoder_input_tokens"
            ]
            for row, index in zip(np.asarray(rows), batch.indices):
                own = wanted[found.examples.ids[index]]
                assert row[: len(own)].tolist() == own


def test_answers_are_those_of_infer_in_every_mode(chatty, world, evaluate, tmp_path):
    common = {"CHECKPOINTS": [str(chatty)], "CHAT": True, "SYSTEM": "dogs", "TEMPERATURE": 0.0}
    evaluate(tmp_path / "eval", MODES=["greedy", "self_consistency"], NUM_SAMPLES=1, **common)
    infer.main(
        [
            *(f"MODEL={chatty}", f"OUTPUT_DIR={tmp_path / 'infer'}", "CHAT=True", "SYSTEM=dogs"),
            *(f"MIXTURE_OR_TASK_NAME={TASK}", "SPLIT=validation", f"DATA_DIR={world / 'data'}"),
            *("TEMPERATURE=0.0", "MAX_TOKENS=8"),
        ]
    )
    lines = (tmp_path / "infer" / "samples.jsonl").read_text().splitlines()
    texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    for mode in ("greedy", "self_consistency"):
        path = tmp_path / "eval" / "samples" / chatty.name / TASK / f"{mode}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {row["id"]: row["samples"][0]["text"] for row in rows} == texts


def test_a_template_is_chosen_by_name(chatty, world, tmp_path):
    model = shutil.copytree(chatty, tmp_path / "model")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "short.jinja").write_text("<s> So")
    with OpenedModel(ModelSettings(str(model), chat_template="short")) as opened:
        plain = _questions(opened, world)
        inputs = as_conversations(plain, opened, None).examples.features["inputs"]
        assert inputs[0].tolist() == opened.vocabulary.encode("<s> So").tolist()


def test_what_is_kept_depends_on_the_form(chatty, evaluate, tmp_path, capsys):
    common = {"CHECKPOINTS": [str(chatty)], "MODES": ["greedy"]}
    evaluate(tmp_path, **common)
    for settings in ({"CHAT": True}, {"CHAT": True, "SYSTEM": "cats"}):
        capsys.readouterr()
        evaluate(tmp_path, **common, **settings)
        assert "as before" not in capsys.readouterr().out
        evaluate(tmp_path, **common, **settings)
        assert "as before" in capsys.readouterr().out


def test_what_is_refused(world, evaluate, tmp_path):
    with pytest.raises(UserError, match=r"CHAT is True, but 'rank' compares options .* MODES"):
        evaluate(tmp_path, CHAT=True, MODES=["greedy", "rank"])
    with pytest.raises(UserError, match="SYSTEM is set, but prompts are plain text; set CHAT"):
        evaluate(tmp_path, SYSTEM="dogs")
    with pytest.raises(UserError, match=r"CHAT_TEMPLATE is set, but prompts are plain text"):
        evaluate(tmp_path, CHAT_TEMPLATE="rag")
    with pytest.raises(UserError, match="has no chat template"):
        evaluate(tmp_path, CHAT=True)
    with pytest.raises(UserError, match=r"CHAT_TEMPLATE is 'rag', but .* has none"):
        evaluate(tmp_path, CHAT=True, CHAT_TEMPLATE="rag")


def _questions(model, world):
    """Returns the task's questions as a model reads them without a template."""
    (found,) = load_eval_sets(
        TASK,
        "validation",
        feature_lengths={"inputs": 24, "targets": 8},
        vocabulary=model.vocabulary,
        data=RunData(str(world / "data")),
        reading=model.reading,
    )
    return found
