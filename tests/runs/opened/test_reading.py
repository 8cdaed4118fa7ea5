"""What a model reads is decided by the model: every path, with and without BOS and EOS."""

from __future__ import annotations

import json
import types
from typing import Any, cast

import numpy as np
import pytest
from model_readings import BYTES, LENGTHS, TASK, examples, reading, rows_of
from tiny_models import decoder_only  # pyright: ignore[reportMissingImports]

from tlm_jax import infer
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.teachers.tokens import PREFIX, TeacherTokens, TeacherTokensReader
from tlm_jax.decoding.engine import Engine
from tlm_jax.evaluation.batching import eval_batches
from tlm_jax.evaluation.eval_set import load_eval_sets
from tlm_jax.lm_eval.texts import TextEncoder
from tlm_jax.runs.cache_teacher import scoring as teacher_scoring
from tlm_jax.runs.cache_teacher.commands import score
from tlm_jax.runs.evaluation import rank as evaluation_rank
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.scoring.continuations import Scorer
from tlm_jax.scoring.rows import Request
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import StepDistributions, solution_key
from tlm_jax.vocabularies import vocabulary_from_name


def test_training_and_evaluation_in_the_loop(case):
    path, *around = case
    vocabulary, found = reading(path)
    expected = examples(path, *around)
    config = PipelineConfig(
        TASK, LENGTHS, 3, split="validation", architecture="decoder_only", vocabulary=vocabulary,
        shuffle=False, pack=False, reading=found,
    )  # fmt: skip
    with Pipeline(config) as pipeline:
        assert rows_of(next(pipeline).arrays) == expected
    (eval_set,) = load_eval_sets(
        TASK, "validation", feature_lengths=LENGTHS, num_examples=3, examples_seed=None,
        vocabulary=vocabulary, reading=found,
    )  # fmt: skip
    for batch in eval_batches(eval_set, decoder_only(128), 3):
        assert rows_of(dict(batch.targets)) == [expected[i] for i in batch.indices]
        attended = batch.prompts["decoder_causal_attention"] > 0
        prompts = [
            read[marked].tolist()
            for read, marked in zip(batch.prompts["decoder_input_tokens"], attended)
        ]
        assert prompts == [expected[i][0] for i in batch.indices]


def test_a_live_teacher_of_another_vocabulary(case):
    path, *around = case
    vocabulary, found = reading(path)
    _, readers = open_readers(TASK, "validation", feature_lengths=LENGTHS, vocabulary=BYTES)
    teacher = TeacherTokens(vocabulary, "decoder_only", LENGTHS, found)
    config = PipelineConfig(
        TASK, LENGTHS, 3, split="validation", architecture="decoder_only", vocabulary=BYTES,
        shuffle=False, pack=False, teacher_tokens=teacher,
    )  # fmt: skip
    with Pipeline(config) as pipeline:
        batch = next(pipeline).arrays
    assert rows_of(batch, PREFIX) == examples(path, *around)
    # Each step stands where the teacher predicts the student's token.
    read = TeacherTokensReader(readers[TASK], teacher, LENGTHS).read(np.arange(3))
    assert (read.features["teacher_steps"].values >= 0).all()
    for row, weights in enumerate(batch["decoder_loss_weights"]):
        steps = batch["teacher_steps"][row][weights > 0]
        theirs = batch[f"{PREFIX}decoder_target_tokens"][row][steps]
        ours = batch["decoder_target_tokens"][row][weights > 0]
        assert vocabulary.decode(theirs) == BYTES.decode(ours)


@pytest.fixture
def asked(monkeypatch) -> list[list[int]]:
    """Contexts of everything that is sampled or scored."""
    contexts: list[list[int]] = []

    def run(self: Engine, requests: Any, prefixes: Any = ()) -> Any:
        requests = list(requests)
        contexts.extend(list(request.prompt) for request in requests)
        return _run(self, requests, prefixes)

    def scored(self: Scorer, params: Any, requests: Any) -> Any:
        contexts.extend(request.context.tolist() for request in requests)
        return _score(self, params, requests)

    _run, _score = Engine.run, Scorer.score
    monkeypatch.setattr(Engine, "run", run)
    monkeypatch.setattr(Scorer, "score", scored)
    return contexts


def test_evaluation_by_majority_and_rank(case, asked, tmp_path):
    path, *around = case
    config = EvalConfig(
        output_dir=str(tmp_path / "eval"),
        checkpoints=[str(path)],
        tasks=[TASK],
        feature_lengths=LENGTHS,
        split="validation",
        modes=["self_consistency"],
        num_examples=3,
        examples_seed=None,
        num_samples=1,
        max_decode_tokens=2,
    )
    run_evaluation(config, "")
    assert asked == [context for context, _ in examples(path, *around)]


def test_rank_reads_the_tasks_prompts(case, asked):
    path, *around = case
    source = open_pretrained(path)
    vocabulary, found = reading(path)
    (eval_set,) = load_eval_sets(
        TASK, "validation", feature_lengths=LENGTHS, num_examples=3, examples_seed=None,
        vocabulary=vocabulary, reading=found,
    )  # fmt: skip
    some = [
        evaluation_rank._RankedQuestion(i, record, (), 0, str(record["inputs"]), ("7", "no"))
        for i, record in enumerate(eval_set.examples.records)
    ]
    model = types.SimpleNamespace(config=source.config, encoder_decoder=False)
    subject = cast(Any, types.SimpleNamespace(model=model))
    chosen = evaluation_rank.rank_format("task", None, None)
    requests, _ = evaluation_rank._requests(subject, eval_set, some, chosen)
    assert [r.context.tolist() for r in requests] == [c for c, _ in examples(path, *around)]
    assert [vocabulary.decode(part) for part in requests[0].continuations] == ["7", "no"]


def test_samples_and_their_scores(case, asked, tmp_path):
    path, *around = case
    out, cache = tmp_path / "samples", tmp_path / "cache"
    settings = [f"MODEL={path}", f"MIXTURE_OR_TASK_NAME={TASK}", "SPLIT=validation"]
    settings += ["NUM_EXAMPLES=3", "EXAMPLES_SEED=None"]
    drawn = ["MAX_TOKENS=6", "NUM_SAMPLES=2", "BATCH_SIZE=8"]
    infer.main([*settings, f"OUTPUT_DIR={out}", *drawn])
    expected = [context for context, _ in examples(path, *around)]
    assert asked == expected
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    # The file alone says what was asked: no task is named.
    scored = [f"MODEL={path}", f"SOLUTIONS={out / 'samples.jsonl'}", f"OUTPUT_DIR={cache}"]
    assert score([*scored, "NUM_CANDIDATES=200", "BATCH_SIZE=8"]) == 0
    found, compared = TeacherCache.open(cache), 0
    vocabulary = vocabulary_from_name(str(path))
    for row in samples:
        ids = row["token_ids"]
        written = vocabulary.encode(row["text"]).tolist()
        ended = row["finish_reason"] == "eos"
        if (
            not row["text"]
            or row["text"] != row["text"].strip()
            or written != ids[: len(ids) - ended]
        ):
            continue  # the sampler's tokens are not the tokenizer's
        cached = found.get(solution_key(row["question"], row.get("options"), row["text"]))
        assert cached is not None
        assert isinstance(cached.steps, StepDistributions)
        assert cached.token_ids.tolist() == ids  # EOS only where it was written
        of_token = cached.steps.logprobs[cached.steps.ids == cached.token_ids[:, None]]
        assert of_token == pytest.approx(row["logprobs"], abs=0.011)
        compared += 1
    assert compared


def test_cache_teacher_scores_targets_as_training_reads_them(case, tmp_path, monkeypatch):
    path, *around = case
    seen: list[Request] = []
    rows = teacher_scoring.TeacherScorer.score
    monkeypatch.setattr(
        teacher_scoring.TeacherScorer,
        "score",
        lambda self, params, requests, keys: (
            seen.extend(requests) or rows(self, params, requests, keys)
        ),
    )
    settings = [f"MODEL={path}", f"MIXTURE_OR_TASK_NAME={TASK}", "SPLIT=validation"]
    assert score([*settings, "NUM_EXAMPLES=3", f"OUTPUT_DIR={tmp_path / 'cache'}"]) == 0
    found = [(r.context.tolist(), np.asarray(r.continuations[0]).tolist()) for r in seen]
    assert found == examples(path, *around)


def test_the_harness(case):
    path, *around = case
    vocabulary, found = reading(path)
    encoder = TextEncoder(vocabulary, found)
    text = "Q: 2+2?" + ("" if found.prompt_eos else "\n")
    (context,) = encoder.contexts([text])
    assert context == [*around[0], *vocabulary.encode("Q: 2+2?").tolist(), *around[1]]
    (pair,) = encoder.pairs([(text.strip(), " 4")])
    assert pair.continuation == vocabulary.encode(" 4").tolist()
