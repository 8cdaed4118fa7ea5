"""Rank classification: a checkpoint answers with the most probable of a question's options."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from tlm_jax.data.sources import Example
from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.evaluation.outcomes import Outcome, Question, Sample
from tlm_jax.evaluation.rank_formats import (
    Option,
    RankFormat,
    options_of,
    rank_format,
    right_option,
)
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.subject import Subject, traits_of
from tlm_jax.runs.training import console
from tlm_jax.scoring.continuations import Score, Scorer, choose
from tlm_jax.scoring.rows import Request
from tlm_jax.scoring.text import (
    BoundaryCheck,
    TextRequest,
    encode_decoder_only,
    encode_encoder_decoder,
    with_start,
)


@dataclasses.dataclass(frozen=True)
class _RankedQuestion:
    """A question that can be asked.

    Attributes:
      index: in the set.
      record: of the question.
      options: at least one.
      right: the place of the right one.
      context: what comes before the options.
      texts: of the options.
    """

    index: int
    record: Example
    options: Sequence[Option]
    right: int
    context: str
    texts: Sequence[str]


def rank(subject: Subject, eval_set: EvalSet, config: EvalConfig) -> Outcome | None:
    """Answers with the most probable option; None where the task has no options to compare.

    Raises:
      UserError: a context is too long and that is an error, or a template asks for what a question
        has not.
    """
    chosen = rank_format(config.rank_format, config.rank_context, config.rank_continuation)
    if chosen.context is None:
        eval_set = subject.fitted(eval_set, config)
    ranked, unreadable = _ranked_questions(eval_set, chosen)
    if not ranked:
        return None
    requests, check = _requests(subject, eval_set, ranked, chosen)
    limit, why = subject.longest_prompt(config)
    if config.too_long == "error":
        _check_lengths(subject, eval_set, ranked, requests, limit, why)
    scorer = Scorer(
        subject.model.config,
        batch_size=config.batch_size,
        bos_id=eval_set.start_id or 0,  # of an encoder-decoder's decoder
        max_length=limit + config.feature_lengths["targets"],
        max_context_length=limit,
        mesh=subject.model.mesh,
    )
    scores = scorer.score(subject.model.params, requests)
    questions = [
        _question(eval_set, some, found, config) for some, found in zip(ranked, scores, strict=True)
    ]
    outcome = subject.outcome(eval_set, "rank", questions, unreadable)
    cut = sum(found[0].dropped_context_tokens > 0 for found in scores)
    return dataclasses.replace(
        outcome,
        truncated=outcome.truncated + cut,
        boundary=None if check is None else (check.different, check.pairs),
    )


def _ranked_questions(
    eval_set: EvalSet, chosen: RankFormat
) -> tuple[list[_RankedQuestion], list[str]]:
    """Returns the questions that have options, and the ids of those whose answer is no option."""
    ranked, unreadable = [], []
    for index, record in enumerate(eval_set.examples.records):
        options = options_of(record)
        if not chosen.asks(record, options):
            continue
        right = right_option(record, options)
        if right < 0:
            unreadable.append(eval_set.examples.ids[index])
            continue
        texts = [chosen.continuation_of(option, record) for option in options]
        context = chosen.context_of(record, options)
        ranked.append(_RankedQuestion(index, record, options, right, context, texts))
    return ranked, unreadable


def _requests(
    subject: Subject, eval_set: EvalSet, ranked: Sequence[_RankedQuestion], chosen: RankFormat
) -> tuple[list[Request], BoundaryCheck | None]:
    """Returns what is scored, and how often the tokenizer joins what stands at the border.

    A task's prompt that ends with its end token, and an encoder's input, have no such border.
    """
    vocabulary = eval_set.vocabulary
    pairs = [TextRequest(some.context, some.texts) for some in ranked]
    inputs = None if chosen.context is not None else eval_set.examples.features.get("inputs")
    if inputs is not None:
        prompts = [inputs[some.index] for some in ranked]
        separate = subject.model.encoder_decoder or all(
            p[-1:] == vocabulary.eos_id for p in prompts
        )
        if separate or eval_set.plain:
            encoded = iter(_options(eval_set, ranked))
            return [
                Request(
                    prompt.astype(np.int32)
                    if subject.model.encoder_decoder
                    else with_start(prompt, vocabulary, eval_set.start_id),
                    [next(encoded) for _ in some.texts],
                )
                for prompt, some in zip(prompts, ranked)
            ], None
    if subject.model.encoder_decoder:
        return encode_encoder_decoder(pairs, vocabulary), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It is told here.
        requests, check = encode_decoder_only(pairs, vocabulary, eval_set.start_id)
    console.say(f"note: {eval_set.task}: {check}")
    return requests, check


def _options(eval_set: EvalSet, ranked: Sequence[_RankedQuestion]) -> list[np.ndarray]:
    """Returns the tokens of every option, in order, behind its task's prompt."""
    texts = [text for some in ranked for text in some.texts]
    if eval_set.reading is None:
        return eval_set.vocabulary.encode_batch(texts)
    contexts = [eval_set.reading.prompt_text(some.context) for some in ranked for _ in some.texts]
    return eval_set.reading.encode(eval_set.vocabulary, contexts, texts)[1]


def _check_lengths(
    subject: Subject,
    eval_set: EvalSet,
    ranked: Sequence[_RankedQuestion],
    requests: Sequence[Request],
    limit: int,
    why: str,
) -> None:
    start = 0 if subject.model.encoder_decoder or eval_set.start_id is None else 1
    lengths = [len(request.context) - start for request in requests]
    long = [place for place, length in enumerate(lengths) if length > limit]
    if long:
        name = eval_set.examples.ids[ranked[long[0]].index]
        raise UserError(
            f"{len(long):,} of {len(lengths):,} contexts of {eval_set.task} are too long, the "
            f"first is of {name!r} with {lengths[long[0]]:,} tokens: {why} leaves "
            f"room for {limit:,}. Give them more room, or set TOO_LONG to 'keep_end' to keep the "
            "end of such contexts"
        )


def _question(
    eval_set: EvalSet, some: _RankedQuestion, scores: Sequence[Score], config: EvalConfig
) -> Question:
    values = [score.value(config.normalize) for score in scores]
    best = choose(scores, config.normalize)
    order = sorted(range(len(values)), key=lambda place: -values[place])
    shown = "\n".join(f"{some.texts[i]}  {values[i]:.4f} nats" for i in order)
    answer, correct = some.options[best].answer, best == some.right
    others = [value for place, value in enumerate(values) if place != some.right]
    return Question(
        eval_set.examples.ids[some.index],
        some.context,
        str(some.record["answer"]),
        answer,
        correct,
        (Sample(shown, answer, correct),),
        traits_of(some.record),
        values[some.right] - max(others) if others else None,
    )
