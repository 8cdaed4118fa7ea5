"""What many prompts of an evaluation begin with is worked on once, and answers stay the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data import tasks
from tlm_jax.data.reading import Reading
from tlm_jax.data.sources import ListSource
from tlm_jax.decoding import common_prefixes
from tlm_jax.evaluation import batching
from tlm_jax.evaluation.eval_result import EvalResult
from tlm_jax.evaluation.eval_set import EvalSet, load_eval_sets
from tlm_jax.evaluation.evaluator import Evaluator
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.vocabularies import ByteVocabulary

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"
TASK = "evaluator_prefixes"
LENGTHS = {"inputs": 40, "targets": 12}
BEGINNINGS = ("Q: one? A: 1. Q: ", "Say: ")
PROMPTS = [f"{BEGINNINGS[n % 2]}{n}{' what' * (n % 3)}?" for n in range(9)] + ["alone", "Q"]
CONFIG = models.DecoderOnlyConfig(
    vocab_size=260, embed_dim=16, num_layers=2, num_heads=2, head_dim=8, mlp_dim=32
)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(autouse=True)
def short_prefixes(monkeypatch) -> None:
    """Has prefixes of a few tokens shared, too."""
    monkeypatch.setattr(common_prefixes, "FEWEST_TOKENS", 4)
    monkeypatch.setattr(common_prefixes, "WORTH_TOKENS_A_ROW", 1)


@pytest.fixture
def eval_set() -> Iterator[EvalSet]:
    examples = [
        {"id": f"q{n}", "inputs": prompt, "targets": f"it is {n}", "kind": "text", "answer": "x"}
        for n, prompt in enumerate(PROMPTS)
    ]
    tasks.register_task(TASK, ListSource({"validation": examples}))
    yield load_eval_sets(TASK, "validation", feature_lengths=LENGTHS)[0]
    tasks.unregister(TASK)


@pytest.fixture
def params():
    # Sharper logits than at initialisation, so that no choice hangs on the last bit.
    return jax.tree.map(lambda p: 3.0 * p, models.init(jax.random.key(1), CONFIG))


def evaluated(eval_set, config, params, **options) -> EvalResult:
    evaluator = Evaluator([eval_set], config, max_decode_steps=8, batch_size=4, **options)
    return evaluator.evaluate(params, step=1)[0]


def assert_as_with_whole_prompts(eval_set, config, params, monkeypatch, **options) -> None:
    shared = evaluated(eval_set, config, params, **options)
    monkeypatch.setattr(batching, "common_prefixes", lambda *_: [])
    whole = evaluated(eval_set, config, params)
    for name in ("id", "prediction", "length_tokens", "finished", "prompt", "correct"):
        found = [[getattr(p, name) for p in one.predictions] for one in (shared, whole)]
        assert found[0] == found[1]
    np.testing.assert_allclose(
        [p.logprob_nats for p in shared.predictions],
        [p.logprob_nats for p in whole.predictions],
        atol=2e-3,  # of sums that are written with four places
    )
    assert shared.nll_nats == pytest.approx(whole.nll_nats, rel=1e-5)
    assert shared.truncated_prompt_share == whole.truncated_prompt_share


def test_answers_are_those_of_whole_prompts(eval_set, params, monkeypatch):
    assert_as_with_whole_prompts(eval_set, CONFIG, params, monkeypatch)


def test_eight_devices_share_them_too(eval_set, params, monkeypatch):
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(CONFIG), mesh, shapes=params)
    sharded = jax.device_put(params, shardings)
    shared = evaluated(eval_set, CONFIG, sharded, mesh=mesh)
    alone = evaluated(eval_set, CONFIG, params)
    assert [p.prediction for p in shared.predictions] == [p.prediction for p in alone.predictions]
    assert shared.nll_nats == pytest.approx(alone.nll_nats, rel=1e-5)


@pytest.mark.parametrize("family", ["opt_350m_style", "bloom_nonpow2_heads", "gemma3_text"])
def test_real_families_answer_as_with_whole_prompts(eval_set, family, monkeypatch):
    source = open_pretrained(GOLDEN / family)
    config = dataclasses.replace(source.config, dtype="float32")
    loaded = jax.tree.map(jnp.asarray, load_params(source, config))
    features = {
        name: dataclasses.replace(ragged, values=ragged.values % config.vocab_size)
        for name, ragged in eval_set.examples.features.items()
    }
    fitting = dataclasses.replace(
        eval_set, examples=dataclasses.replace(eval_set.examples, features=features)
    )
    assert_as_with_whole_prompts(fitting, config, loaded, monkeypatch)


@pytest.mark.parametrize("start_id", [0, None])
def test_rows_are_those_of_whole_prompts_without_the_prefix(eval_set, start_id, monkeypatch):
    eval_set = dataclasses.replace(eval_set, reading=Reading(start_id, prompt_eos=True))
    vocabulary = ByteVocabulary()
    start = [] if start_id is None else [start_id]
    found = list(batching.eval_batches(eval_set, CONFIG, 4))
    assert sorted(i for batch in found for i in batch.indices) == list(range(len(PROMPTS)))
    prefixes = [vocabulary.decode([t for t in b.prefix if t]) for b in found]
    assert prefixes == [BEGINNINGS[0], BEGINNINGS[0], BEGINNINGS[1], ""]
    for batch in found:
        for row, index in enumerate(batch.indices):
            tokens = [*start, *vocabulary.encode(PROMPTS[index]), vocabulary.eos_id]
            attended = batch.prompts["decoder_causal_attention"][row] > 0
            rest = batch.prompts["decoder_input_tokens"][row][attended]
            assert [*batch.prefix, *rest.tolist()] == tokens[: LENGTHS["inputs"] + len(start)]
            weights = batch.targets["decoder_loss_weights"][row] > 0
            learned = batch.targets["decoder_target_tokens"][row][weights]
            assert vocabulary.decode(learned.tolist()) == f"it is {index}"


def test_a_prefix_is_worked_on_once_an_evaluation(eval_set, params, monkeypatch):
    asked: list[int] = []
    evaluator = Evaluator([eval_set], CONFIG, max_decode_steps=8, batch_size=4)
    read = evaluator._read_prefix

    def watched(params, tokens, mask):
        asked.append(int(mask.sum()))
        return read(params, tokens, mask)

    monkeypatch.setattr(evaluator, "_read_prefix", watched)
    for _ in range(2):
        evaluator.evaluate(params, step=1)
    assert asked == 2 * [1 + len(BEGINNINGS[0]), 1 + len(BEGINNINGS[1])]


def test_an_encoder_reads_whole_prompts(eval_set):
    config = models.EncoderDecoderConfig(
        vocab_size=260,
        embed_dim=16,
        num_heads=2,
        head_dim=8,
        mlp_dim=32,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    assert not any(batch.prefix for batch in batching.eval_batches(eval_set, config, 4))
    both_ways = dataclasses.replace(CONFIG, prefix_lm=True)
    assert not any(batch.prefix for batch in batching.eval_batches(eval_set, both_ways, 4))
