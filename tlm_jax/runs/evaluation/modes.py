"""The ways in which a checkpoint answers the questions of a task: greedy, by rank, by majority."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from tlm_jax.data.sources import Example
from tlm_jax.decoding.common_prefixes import common_prefixes
from tlm_jax.decoding.requests import Request as Generation
from tlm_jax.decoding.requests import Sampling
from tlm_jax.decoding.stop_strings import StopStrings
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.evaluator import Evaluator
from tlm_jax.evaluation.grading import grade, readable, votes
from tlm_jax.evaluation.outcomes import Outcome, Question, Sample, majority_question
from tlm_jax.evaluation.predictions import Prediction
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.rank import rank
from tlm_jax.runs.evaluation.subject import Subject, text_of, traits_of
from tlm_jax.runs.inference.jobs import sample_seed
from tlm_jax.runs.opened.model import OpenedModel


def greedy(subject: Subject, eval_set: EvalSet, config: EvalConfig) -> Outcome:
    """Answers with the most probable tokens, as evaluation during training does."""
    eval_set = subject.fitted(eval_set, config)
    evaluator = Evaluator(
        [eval_set],
        subject.model.config,
        max_decode_steps=config.max_decode_tokens or config.feature_lengths["targets"],
        batch_size=config.batch_size,
        mesh=subject.model.mesh,
        grading_rule=config.grading_rule,
        eos_ids=subject.model.eos_ids,
        stop=config.stop,
        compiled=subject.model.compiled,
    )
    (result,) = evaluator.evaluate(subject.model.params, subject.model.source.step)
    questions = [
        Question(
            p.id,
            p.prompt,
            p.gold,
            p.extracted,
            bool(p.correct),
            (Sample(p.prediction, p.extracted, bool(p.correct), p.finished),),
            traits_of(record),
            _confidence(p) * (1 if p.correct else -1),
        )
        for p, record in zip(result.predictions, eval_set.examples.records)
        if p.gold is not None and p.correct is not None
    ]
    unreadable = [p.id for p in result.predictions if p.gold is not None and p.correct is None]
    return subject.outcome(eval_set, "greedy", questions, unreadable)


def self_consistency(subject: Subject, eval_set: EvalSet, config: EvalConfig) -> Outcome:
    """Answers with the majority of samples; samples without an answer do not vote.

    With several hosts each draws the samples of its share of the questions, by a copy of the model
    of its own; a sample's seed says all about it, so results do not depend on how many there are.
    The seed is drawn from SEED, the question's id and the sample's number, as `tlm_jax.infer` does:
    questions that shared their random numbers would be answered rightly or wrongly together.
    """
    eval_set = subject.fitted(eval_set, config)
    records = eval_set.examples.records
    gold_readable = [_readable(record, config.grading_rule) for record in records]
    graded = [i for i, found in enumerate(gold_readable) if found]
    unreadable = [
        eval_set.examples.ids[i] for i, found in enumerate(gold_readable) if found is False
    ]
    if not graded:
        return subject.outcome(eval_set, "self_consistency", [], unreadable)
    ours = graded[jax.process_index() :: jax.process_count()]
    texts = _of_all_hosts(_drawn(subject.model.on_this_host(), eval_set, config, ours))
    questions = [
        majority_question(
            eval_set.examples.ids[i],
            text_of(records[i]),
            str(records[i]["answer"]),
            _voting(records[i], [texts[i, n] for n in range(config.num_samples)], config),
            traits_of(records[i]),
        )
        for i in graded
    ]
    return subject.outcome(eval_set, "self_consistency", questions, unreadable)


MODES = {"greedy": greedy, "rank": rank, "self_consistency": self_consistency}
"""By the names of `EvalConfig.modes`."""


def _drawn(
    model: OpenedModel, eval_set: EvalSet, config: EvalConfig, questions: Sequence[int]
) -> dict[tuple[int, int], tuple[str, bool]]:
    """Returns the text of each sample, and whether it ended by itself, by question and number."""
    if not questions:
        return {}
    vocabulary = eval_set.vocabulary
    inputs = eval_set.examples.features["inputs"]
    start_id = eval_set.start_id
    start = [] if model.encoder_decoder or start_id is None else [start_id]
    prompts = {i: [*start, *inputs[i].tolist()] for i in questions}
    engine = model.engine(
        config.batch_size,
        max_prompt_tokens=max(map(len, prompts.values())),
        start_id=start_id or 0,
    )
    sampling = Sampling(
        max_new_tokens=config.max_decode_tokens or config.feature_lengths["targets"],
        temperature=config.temperature,
        top_p=config.top_p,
    )
    stop = StopStrings(config.stop, vocabulary)
    names = [name or str(i) for i, name in enumerate(eval_set.examples.ids)]
    requests = (
        Generation(
            id=i,
            prompt=prompt,
            seeds=[sample_seed(config.seed, names[i], n) for n in range(config.num_samples)],
            sampling=sampling,
            stop=stop.kept_tokens if stop else None,
        )
        for i, prompt in prompts.items()
    )
    return {
        (sample.request_id, sample.index): (
            stop.read(sample.tokens)[0],
            sample.finish_reason in ("eos", "stop"),
        )
        for sample in engine.run(
            requests, common_prefixes(list(prompts.values()), config.batch_size)
        )
    }


def _of_all_hosts(
    texts: dict[tuple[int, int], tuple[str, bool]],
) -> dict[tuple[int, int], tuple[str, bool]]:
    """Returns what all hosts together have drawn; the same on every host."""
    if jax.process_count() == 1:
        return texts
    written = json.dumps([[*key, *value] for key, value in texts.items()]).encode("ascii")
    sizes = multihost_utils.process_allgather(np.asarray([len(written)], np.int32))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(written)] = np.frombuffer(written, np.uint8)
    parts = multihost_utils.process_allgather(padded)
    return {
        (question, number): (text, finished)
        for part, size in zip(parts, sizes.reshape(-1))
        for question, number, text, finished in json.loads(part[:size].tobytes())
    }


def _readable(record: Example, rule: str | None) -> bool | None:
    """Whether the right answer can be read; None where there is none."""
    if not record.get("answer"):
        return None
    return readable(rule or str(record["kind"]), str(record["answer"]), _options(record))


def _graded(record: Example, text: str, finished: bool, config: EvalConfig) -> Sample:
    rule = config.grading_rule or str(record["kind"])
    graded = grade(rule, text, str(record["answer"]), _options(record))
    return Sample(text, graded.extracted, graded.correct, finished)


def _voting(record: Example, texts: Sequence[tuple[str, bool]], config: EvalConfig) -> list[Sample]:
    """Returns the graded samples; those that mean the same vote for the same."""
    samples = [_graded(record, *text, config) for text in texts]
    rule = config.grading_rule or str(record["kind"])
    ballots = votes(rule, [sample.extracted for sample in samples])
    return [dataclasses.replace(s, vote=vote) for s, vote in zip(samples, ballots)]


def _options(record: Example) -> list[str] | None:
    return json.loads(str(record.get("options_json", "null")))


def _confidence(prediction: Prediction) -> float:
    """Returns the geometric mean probability of the written tokens."""
    return math.exp(min(prediction.logprob_nats / max(prediction.length_tokens, 1), 0.0))
