"""The ways in which a checkpoint answers the questions of a task: greedy, by rank, by majority."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.data.formats import ANSWER_MARKER
from tlm_jax.data.records import LETTERS
from tlm_jax.data.sources import Example
from tlm_jax.data.traits import Trait
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request as Generation
from tlm_jax.decoding.requests import Sampling
from tlm_jax.evaluation.batching import count_truncated_prompts
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.evaluator import Evaluator
from tlm_jax.evaluation.grading import grade
from tlm_jax.evaluation.outcomes import Outcome, Question, Sample, majority_question
from tlm_jax.evaluation.predictions import Prediction
from tlm_jax.evaluation.scoring import Score, Scorer, choose
from tlm_jax.evaluation.scoring_rows import Request
from tlm_jax.evaluation.scoring_text import TextRequest, encode_decoder_only
from tlm_jax.runs import console
from tlm_jax.runs.evaluation_config import EvalConfig
from tlm_jax.sharding import rules
from tlm_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Subject:
    """A loaded checkpoint.

    Attributes:
      name: in results.
      config: the model.
      params: its parameters, on `mesh`.
      mesh: the devices.
      step: of training, where known.
      eos_ids: further tokens that end a text, beside the vocabulary's own.
    """

    name: str
    config: models.ModelConfig
    params: Params
    mesh: Mesh
    step: int = 0
    eos_ids: tuple[int, ...] = ()

    @property
    def encoder_decoder(self) -> bool:
        return isinstance(self.config, models.EncoderDecoderConfig)


def greedy(subject: Subject, eval_set: EvalSet, config: EvalConfig) -> Outcome:
    """Answers with the most probable tokens, as evaluation during training does."""
    evaluator = Evaluator(
        [eval_set],
        subject.config,
        max_decode_steps=config.max_decode_tokens or config.feature_lengths["targets"],
        batch_size=config.batch_size,
        mesh=subject.mesh,
    )
    (result,) = evaluator.evaluate(subject.params, subject.step)
    questions = [
        Question(
            p.id,
            p.prompt,
            p.gold,
            p.extracted,
            bool(p.correct),
            (Sample(p.prediction, p.extracted, bool(p.correct), p.finished),),
            _traits(record),
            _confidence(p) * (1 if p.correct else -1),
        )
        for p, record in zip(result.predictions, eval_set.examples.records)
        if p.gold is not None
    ]
    return _outcome(subject, eval_set, "greedy", questions)


def rank(subject: Subject, eval_set: EvalSet, config: EvalConfig) -> Outcome | None:
    """Answers with the most probable option; None where the task has no options to compare.

    Options stand as the task's targets write answers, `The answer is (A)`.
    """
    records = eval_set.examples.records
    options = [_options(record) for record in records]
    asked = [index for index, found in enumerate(options) if found]
    if not asked:
        return None
    lengths = config.feature_lengths
    scorer = Scorer(
        subject.config,
        batch_size=config.batch_size,
        bos_id=eval_set.vocabulary.bos_id,
        max_length=lengths["inputs"] + lengths["targets"],
        max_context_length=lengths["inputs"],
        mesh=subject.mesh,
    )
    texts = [[f"{ANSWER_MARKER}{written}" for _, written in options[i]] for i in asked]
    scores = scorer.score(subject.params, _requests(subject, eval_set, asked, texts))
    questions = []
    for index, written, found in zip(asked, texts, scores):
        record = records[index]
        answer = options[index][choose(found, config.normalize)][0]
        right = answer == str(record["answer"])
        shown = _ranking(written, found, config)
        sample = Sample(shown, answer, right)
        name = eval_set.examples.ids[index]
        gold = str(record["answer"])
        questions.append(
            Question(
                name,
                _text(record),
                gold,
                answer,
                right,
                (sample,),
                _traits(record),
                _rank_margin(options[index], found, gold, config),
            )
        )
    outcome = _outcome(subject, eval_set, "rank", questions)
    cut = sum(found[0].dropped_context_tokens > 0 for found in scores)
    return dataclasses.replace(outcome, truncated=cut)


def self_consistency(subject: Subject, eval_set: EvalSet, config: EvalConfig) -> Outcome:
    """Answers with the majority of samples; samples without an answer do not vote."""
    vocabulary = eval_set.vocabulary
    prompts = _prompts(subject, eval_set)
    graded = [i for i, record in enumerate(eval_set.examples.records) if record.get("answer")]
    if not graded:
        return _outcome(subject, eval_set, "self_consistency", [])
    divisor = rules.batch_divisor(subject.mesh)
    engine = Engine(
        subject.params,
        subject.config,
        rows=-(-config.batch_size // divisor) * divisor,
        eos_ids=tuple(dict.fromkeys((vocabulary.eos_id, *subject.eos_ids))),
        max_prompt_tokens=max(len(prompts[i]) for i in graded),
        start_id=vocabulary.bos_id,
        mesh=subject.mesh if subject.mesh.size > 1 else None,
    )
    sampling = Sampling(
        max_new_tokens=config.max_decode_tokens or config.feature_lengths["targets"],
        temperature=config.temperature,
        top_p=config.top_p,
    )
    seeds = [config.seed * config.num_samples + i for i in range(config.num_samples)]
    requests = (
        Generation(id=i, prompt=prompts[i].tolist(), seeds=seeds, sampling=sampling) for i in graded
    )
    found: dict[int, dict[int, Sample]] = {i: {} for i in graded}
    for sample in engine.run(requests):
        text = vocabulary.decode(sample.tokens)
        record = eval_set.examples.records[sample.request_id]
        finished = sample.finish_reason in ("eos", "stop")
        found[sample.request_id][sample.index] = _graded(record, text, finished)
    questions = [
        majority_question(
            eval_set.examples.ids[i],
            _text(eval_set.examples.records[i]),
            str(eval_set.examples.records[i]["answer"]),
            [found[i][number] for number in sorted(found[i])],
            _traits(eval_set.examples.records[i]),
        )
        for i in graded
    ]
    return _outcome(subject, eval_set, "self_consistency", questions)


MODES = {"greedy": greedy, "rank": rank, "self_consistency": self_consistency}
"""By the names of `EvalConfig.modes`."""


def _outcome(
    subject: Subject, eval_set: EvalSet, mode: str, questions: Sequence[Question]
) -> Outcome:
    return Outcome(
        subject.name,
        eval_set.task,
        mode,
        tuple(questions),
        ungraded=len(eval_set.examples) - len(questions),
        truncated=count_truncated_prompts(eval_set),
    )


def _options(record: Example) -> list[tuple[str, str]]:
    """Returns each possible answer and how targets write it; none where they write more."""
    kind, gold = record.get("kind"), str(record.get("answer", ""))
    if kind == "choice":
        texts = json.loads(str(record.get("options_json", "null"))) or ()
        options = [(letter, f"({letter})") for letter in LETTERS[: len(texts)]]
    elif kind == "boolean":
        options = [("yes", "yes"), ("no", "no")]
    else:
        return []
    expected = ANSWER_MARKER + dict(options).get(gold, "")
    return options if record.get("targets") == expected else []


def _requests(
    subject: Subject, eval_set: EvalSet, asked: Sequence[int], texts: Sequence[Sequence[str]]
) -> list[Request]:
    vocabulary, inputs = eval_set.vocabulary, eval_set.examples.features["inputs"]
    ended = all(len(inputs[i]) and inputs[i][-1] == vocabulary.eos_id for i in asked)
    if not ended and not subject.encoder_decoder:
        # Text follows text: the tokenizer may join what stands on both sides of the border.
        records = eval_set.examples.records
        pairs = [TextRequest(_text(records[i]), texts[n]) for n, i in enumerate(asked)]
        requests, check = encode_decoder_only(pairs, vocabulary)
        console.say(f"note: {eval_set.task}: {check}")
        return requests
    encoded = iter(vocabulary.encode_batch([text for some in texts for text in some]))
    start = [] if subject.encoder_decoder else [vocabulary.bos_id]
    return [
        Request(np.concatenate([start, inputs[i]]).astype(np.int32), [next(encoded) for _ in some])
        for i, some in zip(asked, texts)
    ]


def _prompts(subject: Subject, eval_set: EvalSet) -> list[np.ndarray]:
    """Returns what is read before the answer, cut as in evaluation during training."""
    inputs = eval_set.examples.features["inputs"].trim(eval_set.feature_lengths["inputs"])
    start = [] if subject.encoder_decoder else [eval_set.vocabulary.bos_id]
    return [
        np.concatenate([start, inputs[i]]).astype(np.int32) for i in range(len(eval_set.examples))
    ]


def _graded(record: Example, text: str, finished: bool) -> Sample:
    options = json.loads(str(record.get("options_json", "null")))
    graded = grade(str(record["kind"]), text, str(record["answer"]), options)
    return Sample(text, graded.extracted, graded.correct, finished)


def _ranking(texts: Sequence[str], scores: Sequence[Score], config: EvalConfig) -> str:
    order = sorted(range(len(scores)), key=lambda i: -scores[i].value(config.normalize))
    return "\n".join(f"{texts[i]}  {scores[i].value(config.normalize):.4f} nats" for i in order)


def _text(record: Example) -> str:
    return str(record.get("inputs", ""))


def _traits(record: Example) -> dict[str, Trait]:
    """Returns what the record tells; of one that tells nothing, the words of its prompt."""
    told = json.loads(str(record.get("traits_json", "null")))
    return told or {"words": len(_text(record).split())}


def _confidence(prediction: Prediction) -> float:
    return math.exp(min(prediction.logprob_nats / max(prediction.length_tokens, 1), 0.0))


def _rank_margin(
    options: Sequence[tuple[str, str]], scores: Sequence[Score], gold: str, config: EvalConfig
) -> float | None:
    values = [score.value(config.normalize) for score in scores]
    right = [value for (answer, _), value in zip(options, values) if answer == gold]
    wrong = [value for (answer, _), value in zip(options, values) if answer != gold]
    return right[0] - max(wrong) if right and wrong else None
