"""The evaluator against decoding and scoring one example at a time."""

import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.data import tasks
from tlm_jax.data.sources import ListSource
from tlm_jax.decoding.greedy import jit_greedy
from tlm_jax.errors import UserError
from tlm_jax.evaluation.batching import eval_batches
from tlm_jax.evaluation.eval_set import load_eval_sets
from tlm_jax.evaluation.evaluator import Evaluator
from tlm_jax.evaluation.intervals import wilson
from tlm_jax.evaluation.predictions import write_predictions
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.vocabularies import ByteVocabulary

TINY: dict[str, Any] = {
    "vocab_size": 260,
    "embed_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "mlp_dim": 32,
}
CONFIGS = {
    "encoder_decoder": models.EncoderDecoderConfig(
        **TINY, num_encoder_layers=1, num_decoder_layers=1
    ),
    "decoder_only": models.DecoderOnlyConfig(**TINY, num_layers=1),
}
STEPS = 8
LENGTHS = {"inputs": 40, "targets": 12}
QUESTIONS = [
    "What is 2 + 2?",
    "A much longer question than the others are?",  # 43 bytes and EOS: cut to 40
    "One?",
    "Name a number, please, a small one",
    "Two?",
    "Which?",
    "x" * 38,
]


@functools.cache
def _params(name):
    # Sharper logits than at initialisation, so that no choice hangs on the last bit.
    return jax.tree.map(lambda p: 3.0 * p, models.init(jax.random.key(1), CONFIGS[name]))


def _ids(text, limit):
    return np.array([*ByteVocabulary().encode(text), 1], np.int32)[:limit]


def _filled(*parts):
    """One row of the tokens of `parts`, filled up to 64."""
    row = np.zeros((1, 64), np.int32)
    tokens = np.concatenate([np.asarray(part, np.int32) for part in parts])
    row[0, : len(tokens)] = tokens
    return jnp.asarray(row)


@functools.cache
def _decoder(name):
    return jit_greedy(CONFIGS[name], max_decode_steps=STEPS, eos_ids=(1,))


@functools.cache
def _decoded_alone(name, question):
    """Tokens written for one question, decoded by itself."""
    inputs = _ids(question, LENGTHS["inputs"])
    if name == "encoder_decoder":
        batch = {"encoder_input_tokens": _filled(inputs)}
    else:
        prompt = np.ones(len(inputs) + 1)
        batch = {
            "decoder_input_tokens": _filled([0], inputs),
            "decoder_causal_attention": _filled(prompt),
        }
    decoded = _decoder(name)(_params(name), batch)
    return np.asarray(decoded.tokens[0, : int(decoded.lengths[0])])


@functools.cache
def _logits(name):
    return jax.jit(lambda batch: models.logits(_params(name), batch, CONFIGS[name]))


def _nll_alone(name, question, target):
    """Summed nats and number of the target tokens of one example, by itself."""
    inputs, targets = _ids(question, LENGTHS["inputs"]), _ids(target, LENGTHS["targets"])
    before = [] if name == "encoder_decoder" else inputs
    batch = {
        "encoder_input_tokens": _filled(inputs),
        "decoder_input_tokens": _filled([0], before, targets[:-1]),
        "decoder_target_tokens": _filled(before, targets),
    }
    logprobs = np.asarray(jax.nn.log_softmax(_logits(name)(batch)[0]))
    places = len(before) + np.arange(len(targets))
    return -logprobs[places, targets].sum(), len(targets)


def _example(name, index):
    """An example whose gold answer the model gets right, wrong, or that is not graded."""
    question = QUESTIONS[index]
    fields = {"id": f"q{index}", "inputs": question, "targets": f"it is {index}"}
    written = ByteVocabulary().decode(_decoded_alone(name, question).tolist())
    if index % 3 == 0:
        return fields | {"kind": "text", "answer": written, "options_json": "null"}
    if index % 3 == 1:
        return fields | {"kind": "choice", "answer": "B", "options_json": '["eel", "owl"]'}
    return fields


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


@pytest.fixture
def eval_set(name):
    task = f"evaluator_{name}"
    source = ListSource({"validation": [_example(name, i) for i in range(len(QUESTIONS))]})
    tasks.register_task(task, source)
    yield load_eval_sets(task, "validation", feature_lengths=LENGTHS)[0]
    tasks.unregister(task)


def _evaluator(eval_set, name, **options: Any):
    settings: dict[str, Any] = {"max_decode_steps": STEPS, "batch_size": 3, **options}
    return Evaluator([eval_set], CONFIGS[name], **settings)


def test_equals_one_example_at_a_time(name, eval_set, tmp_path):
    told = []
    evaluator = _evaluator(
        eval_set, name, output_dir=tmp_path, progress=lambda *event: told.append(event)
    )
    (result,) = evaluator.evaluate(_params(name), step=12)

    written = [_decoded_alone(name, question) for question in QUESTIONS]
    texts = [ByteVocabulary().decode(tokens.tolist()) for tokens in written]
    assert [p.prediction for p in result.predictions] == texts
    assert [p.length_tokens for p in result.predictions] == [len(tokens) for tokens in written]
    assert [p.prompt for p in result.predictions] == QUESTIONS
    assert result.mean_length_tokens == pytest.approx(np.mean([len(t) for t in written]))

    golds = [_example(name, i).get("answer") or None for i in range(len(QUESTIONS))]
    assert [p.gold for p in result.predictions] == golds
    graded = [i for i, gold in enumerate(golds) if gold is not None]
    right = [i for i in graded if result.predictions[i].correct]
    assert result.num_graded == len(graded)
    assert result.num_correct == len(right) == sum(i % 3 == 0 for i in graded) > 0
    assert all(p.correct is None for i, p in enumerate(result.predictions) if i not in graded)
    assert result.accuracy_interval == wilson(len(right), len(graded))
    nothing_found = [i for i in graded if result.predictions[i].extracted is None]
    assert result.unparsable_share == pytest.approx(len(nothing_found) / len(graded))
    assert result.truncated_prompt_share == pytest.approx(1 / len(QUESTIONS))

    alone = [_nll_alone(name, q, f"it is {i}") for i, q in enumerate(QUESTIONS)]
    nats = sum(nll for nll, _ in alone) / sum(tokens for _, tokens in alone)
    assert result.nll_nats == pytest.approx(nats, rel=1e-5)
    assert result.perplexity == pytest.approx(math.exp(nats), rel=1e-4)
    assert result.metrics()["accuracy"] == result.accuracy == len(right) / len(graded)

    task = eval_set.task
    assert told == [(task, 0, 7), (task, 3, 7), (task, 6, 7), (task, 7, 7)]
    path = tmp_path / task / "step_12.jsonl"
    assert result.path == path
    assert [p.name for p in path.parent.iterdir()] == ["step_12.jsonl"]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [f"q{i}" for i in range(7)]
    assert [line["prediction"] for line in lines] == texts
    keys = {"id", "prompt", "prediction", "extracted", "gold", "correct"}
    assert keys <= set(lines[0])


@pytest.mark.parametrize("name", ["encoder_decoder"], indirect=True)
def test_eight_devices_find_what_one_finds(name, eval_set):
    (alone,) = _evaluator(eval_set, name).evaluate(_params(name), step=1)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(
        models.logical_axes(CONFIGS[name]), mesh, shapes=_params(name)
    )
    sharded = jax.device_put(_params(name), shardings)
    (result,) = _evaluator(eval_set, name, mesh=mesh).evaluate(sharded, step=1)
    assert [p.prediction for p in result.predictions] == [p.prediction for p in alone.predictions]
    assert result.nll_nats == pytest.approx(alone.nll_nats, rel=1e-5)
    assert result.num_correct == alone.num_correct


def test_every_example_stands_in_one_row_and_filling_rows_weigh_nothing(name, eval_set):
    batches = list(eval_batches(eval_set, CONFIGS[name], 4))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(7))
    weights = [batch.targets["decoder_loss_weights"].sum() for batch in batches]
    assert sum(weights) == 7 * len("it is 0") + 7  # and an EOS each
    last = batches[-1]
    assert len(last.indices) == 3
    for array in last.prompts.values():
        assert array.shape[0] == 4
        np.testing.assert_array_equal(array[3], array[0])
    lengths = {next(iter(batch.prompts.values())).shape[1] for batch in batches}
    assert lengths == {32, 40} if name == "encoder_decoder" else {32, 52}


@pytest.mark.parametrize("name", ["decoder_only"], indirect=True)
def test_one_task_without_answers_has_likelihood_only(name):
    tasks.register_task(
        "evaluator_plain", ListSource({"validation": [{"id": "a", "inputs": "b", "targets": "c"}]})
    )
    try:
        sets = load_eval_sets("evaluator_plain", "validation", feature_lengths=LENGTHS)
        (result,) = _evaluator(sets[0], name).evaluate(_params(name), step=0)
    finally:
        tasks.unregister("evaluator_plain")
    assert result.accuracy is None
    assert "accuracy" not in result.metrics()
    assert result.nll_nats > 0
    assert result.path is None


def test_targets_only_task_starts_from_bos():
    source = ListSource({"validation": [{"id": "a", "targets": "some text"}]})
    tasks.register_task("evaluator_text", source, features=("targets",))
    try:
        sets = load_eval_sets("evaluator_text", "validation", feature_lengths={"targets": 16})
    finally:
        tasks.unregister("evaluator_text")
    (batch,) = eval_batches(sets[0], CONFIGS["decoder_only"], 1)
    assert batch.prompts["decoder_causal_attention"].tolist() == [[1] + [0] * 15]
    assert not batch.prompts["decoder_input_tokens"].any()
    with pytest.raises(UserError, match="targets only"):
        list(eval_batches(sets[0], CONFIGS["encoder_decoder"], 1))


def test_a_split_without_end_needs_a_number_of_examples():
    class Endless(ListSource):
        def num_examples(self, split):
            return None

    source = Endless({"validation": [{"id": "a", "inputs": "b", "targets": "c"}] * 3})
    tasks.register_task("evaluator_endless", source)
    try:
        with pytest.raises(UserError, match=r"'evaluator_endless' has no end: set num_examples"):
            load_eval_sets("evaluator_endless", "validation", feature_lengths=LENGTHS)
        found = load_eval_sets(
            "evaluator_endless", "validation", feature_lengths=LENGTHS, num_examples=2
        )
    finally:
        tasks.unregister("evaluator_endless")
    assert len(found[0].examples) == 2


def test_predictions_that_cannot_be_written_are_a_user_error(tmp_path):
    blocked = tmp_path / "eval"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"step_3\.jsonl: predictions cannot be written"):
        write_predictions(blocked / "task" / "step_3.jsonl", [])


def test_an_answer_ends_at_a_stop_text(name, eval_set):
    (plain,) = _evaluator(eval_set, name).evaluate(_params(name), step=0)
    longest = max(plain.predictions, key=lambda p: len(p.prediction))
    text = longest.prediction[1:3]
    assert text
    (found,) = _evaluator(eval_set, name, stop=[text]).evaluate(_params(name), step=0)
    assert any(text in p.prediction for p in plain.predictions)
    for before, after in zip(plain.predictions, found.predictions):
        assert after.prediction == before.prediction.split(text)[0]
        if text in before.prediction:
            assert after.finished
            assert after.length_tokens <= before.length_tokens
        else:
            assert after == before
