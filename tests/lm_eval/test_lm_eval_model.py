"""The harness's model class: order, caching, templates, records; its base class is a stand-in.

`test_lm_eval_harness.py` runs the real harness, which lives in an environment of its own.
"""

from __future__ import annotations

import sys
import types

import jax
import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval.texts import TextEncoder
from tlm_jax.runs.command_line import environment


class Kept:
    """What the harness's cache hook was given."""

    def __init__(self):
        self.partial = []

    def add_partial(self, kind, request, answer):
        self.partial.append((kind, request, answer))


class StandIn:
    def __init__(self):
        self.cache_hook = Kept()


def asked(*requests):
    return [types.SimpleNamespace(args=request) for request in requests]


@pytest.fixture(scope="module")
def model(model_directories):
    """`TlmJaxLM` on the decoder-only model, on one device, without the harness."""
    modules = {
        "lm_eval": types.ModuleType("lm_eval"),
        "lm_eval.api": types.ModuleType("lm_eval.api"),
        "lm_eval.api.instance": types.SimpleNamespace(Instance=types.SimpleNamespace),
        "lm_eval.api.model": types.SimpleNamespace(LM=StandIn),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        patch.delitem(sys.modules, "tlm_jax.lm_eval.model", raising=False)
        patch.setattr(environment, "prepare", lambda: None)
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        from tlm_jax.lm_eval.model import TlmJaxLM

        path = str(model_directories["decoder"])
        yield TlmJaxLM(pretrained=path, max_length=24, batch_size="4", device="cuda:0")
        sys.modules.pop("tlm_jax.lm_eval.model")


def test_loglikelihoods_come_in_order_and_are_kept_for_the_cache(model):
    requests = [("w5 w6", " w7"), ("w5", " w8 w9"), ("w5 w6", " w9"), ("", "w5")]
    found = model.loglikelihood(asked(*requests), disable_tqdm=True)
    kept = {request: answer for kind, request, answer in model.cache_hook.partial}
    assert [kept[request] for request in requests] == found
    assert all(logprob < 0 and isinstance(greedy, bool) for logprob, greedy in found)
    alone = [model.loglikelihood(asked(request), disable_tqdm=True)[0] for request in requests]
    assert [logprob for logprob, _ in alone] == pytest.approx([p for p, _ in found], abs=1e-5)


def test_a_whole_text_is_the_sum_of_its_windows(model):
    words = [f"w{n}" for n in range(10, 60)]
    model.cache_hook.partial.clear()
    long, empty, short = model.loglikelihood_rolling(
        asked((" ".join(words),), ("",), ("w5 w6",)), disable_tqdm=True
    )
    encoder = TextEncoder(model._model.vocabulary, model._model.reading)
    assert [len(pair.continuation) for pair in encoder.windows(" ".join(words), 24)] == [24, 24, 3]
    pairs = list(encoder.windows(" ".join(words), 24))
    assert long == pytest.approx(sum(p for p, _ in model._likelihoods.score(pairs)), abs=1e-4)
    # BOS alone is what a tokenizer with that habit makes of an empty text.
    assert empty < 0
    assert short < empty
    assert sorted(kind for kind, _, _ in model.cache_hook.partial) == ["loglikelihood_rolling"] * 3


def test_answers_come_in_order_and_are_kept_for_the_cache(model):
    settings = {"until": ["w0"], "max_gen_toks": 3}
    requests = [("w10 w11", settings), ("w20 w21 w22", settings), ("w10 w11", settings)]
    model.cache_hook.partial.clear()
    found = model.generate_until(asked(*requests), disable_tqdm=True)
    assert found[0] == found[2] != found[1]
    assert sorted(answer for _, _, answer in model.cache_hook.partial) == sorted(found)
    assert settings == {"until": ["w0"], "max_gen_toks": 3}


def test_conversations_and_their_record(model):
    question = [{"role": "system", "content": "w9"}, {"role": "user", "content": "w7"}]
    assert model.apply_chat_template(question) == "<s> user w7 </s> <s> assistant "
    answer = [*question[1:], {"role": "assistant", "content": "w8"}]
    text = model.apply_chat_template(answer, add_generation_prompt=False)
    assert text == "<s> user w7 </s> <s> assistant w8"
    # The template writes BOS, the encoder adds no second one.
    assert model._encoder.encode([text])[0][:2] == [1, 3]
    assert (
        model.chat_template(True) == model.chat_template("default") == model._model.template.source
    )
    assert model.chat_template(False) is None
    assert model.tokenizer_name.startswith("tlm_jax-")
    with pytest.raises(UserError, match="--apply_chat_template tools: expected no name"):
        model.chat_template("tools")


def test_the_record_counts_what_was_cut(model, caplog):
    before = model.get_model_info()
    long = " ".join(f"w{n}" for n in range(10, 60))
    model.loglikelihood(asked((long, " w5")), disable_tqdm=True)
    after = model.get_model_info()
    assert after["cut_contexts"] == before["cut_contexts"] + 1
    assert (after["max_length"], after["batch_rows"], after["model_format"]) == (24, 4, "hf")
    assert "lost the left end of their context: the model's window has 24" in caplog.text
