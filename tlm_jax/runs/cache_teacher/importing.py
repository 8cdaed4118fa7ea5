"""An import from its configuration to a cache, and to records that tasks train on."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tlm_jax.data.records import Record
from tlm_jax.data.teacher_imports import codex, openai_answers, own_samples
from tlm_jax.data.teacher_imports.captured import (
    Captured,
    Piece,
    Step,
    TokenSteps,
    Unusable,
    within_text,
)
from tlm_jax.data.teacher_imports.distributions import VOCABULARY_SIZE, SeenTokens
from tlm_jax.data.teacher_imports.examples import ExampleFile, Solution, solution_record
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import grade
from tlm_jax.evaluation.rules.registry import RULES
from tlm_jax.runs.cache_teacher.examples import write_examples
from tlm_jax.runs.cache_teacher.import_config import ImportConfig
from tlm_jax.runs.cache_teacher.import_counts import LeftOut, Survey, say
from tlm_jax.teacher_cache import CacheWriter, Header, TopK
from tlm_jax.teacher_cache.steps import TeacherRow, solution_key
from tlm_jax.teacher_cache.token_file import read_tokens
from tlm_jax.vocabularies import vocabulary_from_name
from tlm_jax.vocabularies.base import digest
from tlm_jax.vocabularies.token_bytes import TokenTable, token_table


def run_import(config: ImportConfig) -> Counter[str]:
    """Fills the cache; returns how many solutions were kept and left out, by reason.

    The files are read twice where they bring texts of tokens: once to number these.

    Raises:
      UserError: a file is not what it should be, or nothing in it can be used.
    """
    began = time.monotonic()
    survey = Survey()
    if config.source != "samples":
        for captured in usable(config, LeftOut()):
            survey.add(captured)
    elif config.num_candidates is None:
        survey.add(next(usable(config, LeftOut()), None))
    vocabulary = seen_tokens(config, survey.pieces)
    width = config.num_candidates or max(survey.widths, default=0)
    if not width:
        raise nothing_usable(config)
    left_out = LeftOut()
    tokens = 0
    examples = ExampleFile(config.output_dir)
    with open_writer(config, vocabulary, width) as writer:
        keys: set[str] = set()
        for captured in usable(config, left_out):
            key = key_of(captured)
            if key in keys:
                left_out.add("repeated", captured)
                continue
            try:
                row = row_of(captured, vocabulary, width, config)
                example = example_of(captured, config)
            except Unusable as reason:
                left_out.add(reason, captured)
                continue
            keys.add(key)
            examples.add(example)
            left_out.counts["there already" if writer.have(key) else "kept"] += 1
            if not writer.have(key):
                writer.write(row)
                tokens += len(row.token_ids)
    if not keys:
        raise _nothing_usable(config, left_out)
    write_examples(examples)
    say(left_out, survey, config.output_dir, tokens, time.monotonic() - began)
    return left_out.counts


def usable(config: ImportConfig, left_out: LeftOut) -> Iterator[Captured]:
    """Yields the solutions to be kept, with the steps of their texts; counts the others."""
    table = samples_table(config) if config.source == "samples" else None
    for captured in read_solutions(config):
        if config.only is not None and captured.id not in config.only:
            continue
        try:
            yield _checked(captured, config, table)
        except Unusable as reason:
            left_out.add(reason, captured)


def read_solutions(config: ImportConfig) -> Iterator[Captured]:
    """Yields all solutions as their files have them."""
    table = samples_table(config) if config.source == "samples" else None
    for path in config.files:
        yield from _reader(config, table)(path)


def seen_tokens(config: ImportConfig, pieces: set[Piece]) -> SeenTokens | TokenTable:
    """Returns the vocabulary of the rows; tokens that the cache knows keep their numbers."""
    if config.source == "samples":
        return samples_table(config)
    return SeenTokens.of(pieces, read_tokens(config.output_dir))


def open_writer(
    config: ImportConfig,
    vocabulary: SeenTokens | TokenTable,
    width: int,
    *,
    host: int = 0,
    num_hosts: int = 1,
) -> CacheWriter:
    """Opens the cache."""
    known = isinstance(vocabulary, TokenTable)
    header = Header(
        teacher=config.teacher,
        teacher_fingerprint=digest(config.teacher.encode()),
        tokenizer_fingerprint=vocabulary.fingerprint if known else "",
        vocabulary_size=vocabulary.size if known else VOCABULARY_SIZE,
        temperature=config.temperature,
        source_task=", ".join(path.name for path in config.files),
    )
    return CacheWriter(
        config.output_dir,
        header,
        encoding=TopK(width),
        host=host,
        num_hosts=num_hosts,
        rows_per_shard=config.rows_per_shard,
        compression=config.compression,
        table=vocabulary if known else vocabulary.table,
    )


def key_of(captured: Captured) -> str:
    """Returns the key of a solution's row."""
    return solution_key(captured.question, captured.options, captured.text)


def row_of(
    captured: Captured, vocabulary: SeenTokens | TokenTable, width: int, config: ImportConfig
) -> TeacherRow:
    """Returns the row of a usable solution.

    Raises:
      Unusable: its probabilities are none.
    """
    steps = captured.steps
    assert steps is not None
    if not isinstance(steps, TokenSteps):
        assert isinstance(vocabulary, SeenTokens)
        steps = vocabulary.distributions(
            steps, width, rounding=config.rounding, rounding_nats=config.rounding_nats
        )
    return TeacherRow(key_of(captured), captured.id, steps.token_ids, steps.steps)


def example_of(captured: Captured, config: ImportConfig) -> Record:
    """Returns the record of a solution.

    Raises:
      Unusable: there can be none.
    """
    solution = Solution(
        id=captured.id,
        question=captured.question,
        text=captured.text,
        answer=captured.answer,
        kind=captured.kind,
        options=captured.options,
        question_id=captured.question_id,
        place=captured.place,
    )
    try:
        return solution_record(solution, dataset=config.output_dir.name)
    except UserError:
        raise Unusable("with a gold answer or options that are none of their kind") from None


def samples_table(config: ImportConfig) -> TokenTable:
    """Returns the token table of our own samples."""
    named = config.vocabulary
    assert named is not None
    return token_table(vocabulary_from_name(named) if isinstance(named, str) else named)


def nothing_usable(config: ImportConfig) -> UserError:
    """Returns the error that names why solutions were left out."""
    left_out = LeftOut()
    for _ in usable(config, left_out):
        pass
    return _nothing_usable(config, left_out)


def _nothing_usable(config: ImportConfig, left_out: LeftOut) -> UserError:
    named = ", ".join(map(str, config.files))
    return UserError(f"nothing in {named} can be cached: {left_out.summary()}")


def _reader(config: ImportConfig, table: TokenTable | None) -> Callable[[Path], Iterator[Captured]]:
    if config.source == "openai":
        questions = None
        if config.questions is not None:
            questions = openai_answers.read_questions(config.questions)
        return functools.partial(
            openai_answers.read_answers, questions=questions, ends=config.end_tokens
        )
    if config.source == "samples":
        assert table is not None
        return functools.partial(own_samples.read_samples, table=table)
    readers: Mapping[str, Callable[[Path], Iterator[Captured]]] = {
        "codex": codex.read_dump,
        "codex_pickles": codex.read_pickles,
    }
    return readers[config.source]


def _checked(captured: Captured, config: ImportConfig, table: TokenTable | None) -> Captured:
    """Returns the solution with the steps of its text.

    Raises:
      Unusable: it is to be left out.
    """
    if captured.problem:
        raise Unusable(captured.problem)
    if captured.steps is None:
        raise Unusable("without log-probabilities")
    texts = (captured.id, captured.question, captured.text, captured.answer or "")
    if any("\ud800" <= c <= "\udfff" for c in "".join([*texts, *(captured.options or ())])):
        raise Unusable("halves of surrogate pairs, which no file of UTF-8 can hold")
    if not captured.finished and not config.keep_unfinished:
        raise Unusable("unfinished")
    is_codex = config.source.startswith("codex")
    graded = config.only is None and (config.only_correct or is_codex)
    if graded and not _is_right(captured, config):
        raise Unusable("not right")
    steps: object = captured.steps
    if isinstance(steps, TokenSteps):
        assert table is not None
        steps = own_samples.within_text(steps, captured.text, table)
    else:
        whole: list[Step] = list(captured.steps)  # pyright: ignore[reportArgumentType]
        steps = within_text(
            codex.content_steps(whole) if is_codex else whole,
            captured.text,
            before=captured.before,
            stops=captured.stops,
        )
    return Captured(**{**vars(captured), "steps": steps})


def _is_right(captured: Captured, config: ImportConfig) -> bool:
    if captured.correct is not None and config.grading_rule is None:
        return captured.correct
    if captured.answer is None:
        return False
    rule = config.grading_rule
    if rule is None:
        by_kind = captured.kind if captured.kind in RULES else "numeric"
        rule = "official_last_number" if config.source.startswith("codex") else by_kind
    assert rule is not None
    return grade(rule, captured.text, captured.answer, captured.options).correct
