"""A scoring run from its configuration to a cache: resumable, one host or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tlm_jax import models
from tlm_jax.data.teacher_imports.examples import ExampleFile, solution_record
from tlm_jax.errors import UserError
from tlm_jax.metrics.sample_progress import SampleProgress
from tlm_jax.runs.cache_teacher.config import ScoreConfig
from tlm_jax.runs.cache_teacher.examples import write_examples
from tlm_jax.runs.cache_teacher.solutions import Scored, load_solutions
from tlm_jax.runs.cache_teacher.tokens import SolutionEncoder, Tokenized
from tlm_jax.runs.inference.config import this_host
from tlm_jax.runs.opened.model import OpenedModel, of_task
from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.scoring.readouts import Draws, LastHidden, TopCandidates, vocab_shards
from tlm_jax.scoring.teacher import TeacherScorer
from tlm_jax.system.home import expanded
from tlm_jax.teacher_cache import CacheWriter, Header, StoredUnembedding
from tlm_jax.teacher_cache.steps import TeacherRow
from tlm_jax.vocabularies.token_bytes import token_table

_WINDOW_BATCHES = 64
"""So many batches are put in order of their lengths at a time; then their rows go to disk."""


def run_scoring(config: ScoreConfig) -> None:
    """Scores all solutions that the cache at OUTPUT_DIR lacks.

    Raises:
      UserError: model, solutions or cache cannot be used.
    """
    settings = ModelSettings(
        config.model,
        config.dtype,
        config.mesh,
        config.vocabulary,
        ReadingSettings(config.prompts.add_bos, config.prompts.add_eos),
        config.prompts.chat_template,
    )
    fallback = of_task(config.solutions.mixture_or_task_name, config.solutions.modules)
    with OpenedModel(settings, fallback) as model:
        vocabulary = model.vocabulary
        every = load_solutions(config.solutions, config.prompts, vocabulary, model.reading)
        wanted, counts = _wanted(every, config)
        encoder = SolutionEncoder(model, config)
        host, num_hosts = this_host(config.host_index, config.num_hosts)
        # Before the work, as what cannot become records is an error.
        examples = _examples(wanted, config) if host == 0 else None
        teacher = _Teacher(config, model)
        with CacheWriter(
            expanded(config.output_dir),
            _header(config, model, encoder),
            encoding=config.encoding.encoding(vocabulary.size),
            host=host,
            num_hosts=num_hosts,
            rows_per_shard=config.encoding.rows_per_shard,
            compression=config.encoding.compression,
            table=token_table(vocabulary),
            unembedding=teacher.unembedding() if config.encoding.name == "hidden" else None,
        ) as writer:
            ours = _share(wanted, host, num_hosts)
            missing = [one for one in ours if not writer.have(one.key)]
            print(f"teacher   {config.model}")
            print(f"solutions {len(wanted):,}{''.join(f', {n:,} {why}' for why, n in counts)}")
            print(f"here      {len(ours):,}, of which {len(ours) - len(missing):,} are there")
            tokenized = encoder.encode(missing)
            _print_token_counts(encoder)
            with SampleProgress(len(ours), done=len(ours) - len(missing)) as progress:
                for row in teacher.rows(tokenized):
                    writer.write(row)
                    progress.advance(len(row.token_ids))
                rates = progress.rates()
            print(f"scored    {sum(len(t.solutions) for t in tokenized):,} solutions, {rates}")
    if examples is not None:
        write_examples(examples)
    print(f"cache     {config.output_dir}", flush=True)


class _Teacher:
    """The model on this host's devices."""

    def __init__(self, config: ScoreConfig, model: OpenedModel):
        self._config, self._model = config, model
        _ = model.mesh  # a wrong one is told before the cache is there

    def rows(self, tokenized: Sequence[Tokenized]) -> Iterator[TeacherRow]:
        """Yields rows as they are done."""
        if not tokenized:
            return
        model = self._model
        shards = vocab_shards(model.config.vocab_size, model.sharded_mesh)
        scorer = TeacherScorer(
            model.config,
            _look(self._config, model.vocabulary.size, shards),
            batch_size=self._config.batch_size,
            bos_id=model.start_id,  # of an encoder-decoder's decoder
            mesh=model.sharded_mesh,
        )
        width = _WINDOW_BATCHES * self._config.batch_size
        for start in range(0, len(tokenized), width):
            window = tokenized[start : start + width]
            requests = [one.request for one in window]
            keys = [[solution.key for solution in one.solutions] for one in window]
            for request, option, steps in scorer.score(model.params, requests, keys):
                solution = window[request].solutions[option]
                yield TeacherRow(
                    key=solution.key,
                    example_id=solution.solution.id,
                    token_ids=np.asarray(requests[request].continuations[option], np.int32),
                    steps=steps,
                )

    def unembedding(self) -> StoredUnembedding:
        """Returns the map from hidden states to logits, for the encoding `hidden`."""
        found = models.unembedding(self._model.params, self._model.config)
        return StoredUnembedding(
            np.asarray(found.matrix),
            float(found.scale),
            found.soft_cap,
            None if found.bias is None else np.asarray(found.bias),
        )


def _look(config: ScoreConfig, num_ids: int, shards: int) -> TopCandidates | Draws | LastHidden:
    wanted = config.encoding
    temperature = float(wanted.temperature)
    if wanted.name == "hidden":
        return LastHidden()
    if wanted.name == "sampled":
        return Draws(wanted.num_draws, num_ids, temperature, config.chunk_tokens)
    count = min(wanted.num_candidates, num_ids)
    return TopCandidates(count, num_ids, temperature, config.chunk_tokens, shards)


def _wanted(
    every: Sequence[Scored], config: ScoreConfig
) -> tuple[list[Scored], list[tuple[str, int]]]:
    """Returns the solutions to be scored, and how many were left out, by reason."""
    kept: dict[str, Scored] = {}
    empty = wrong = repeated = 0
    for one in every:
        if not one.solution.text.strip():
            empty += 1
        elif config.solutions.only_correct and one.correct is not True:
            wrong += 1
        elif one.key in kept:
            repeated += 1
        else:
            kept[one.key] = one
    if not kept:
        raise UserError(
            f"there is nothing to score: of {len(every):,} solutions {empty:,} are empty and "
            f"{wrong:,} not known to be right"
        )
    counts = [("empty", empty), ("not right", wrong), ("repeated", repeated)]
    return list(kept.values()), [(why, n) for why, n in counts if n]


def _share(solutions: Sequence[Scored], host: int, num_hosts: int) -> list[Scored]:
    """Returns a host's part: all solutions of a prompt belong to one host, which reads it once."""
    order: dict[str, int] = {}
    places = [order.setdefault(one.prompt.id, len(order)) for one in solutions]
    return [one for one, place in zip(solutions, places) if place % num_hosts == host]


def _header(config: ScoreConfig, model: OpenedModel, encoder: SolutionEncoder) -> Header:
    solutions = config.solutions
    sources = (solutions.mixture_or_task_name, solutions.file and Path(solutions.file).name)
    return Header(
        teacher=config.teacher_name or str(config.model),
        teacher_fingerprint=model.fingerprint,
        tokenizer_fingerprint=token_table(model.vocabulary).fingerprint,
        vocabulary_size=model.vocabulary.size,
        temperature=float(config.encoding.temperature),
        source_task=" with ".join(part for part in sources if part),
        settings={"dtype": config.dtype, **encoder.settings()},
    )


def _examples(solutions: Sequence[Scored], config: ScoreConfig) -> ExampleFile:
    directory = expanded(config.output_dir)
    examples = ExampleFile(directory)
    for one in solutions:
        if one.becomes_record:
            examples.add(solution_record(one.solution, dataset=directory.name))
    return examples


def _print_token_counts(encoder: SolutionEncoder) -> None:
    if encoder.cut:
        print(f"note: {encoder.cut:,} solutions were scored behind the end of their prompt only")
    if encoder.left_out:
        print(f"note: {encoder.left_out:,} solutions are longer than the model reads; left out")
    if encoder.encoded_separately:
        print(
            f"note: {encoder.encoded_separately:,} solutions were encoded apart from their "
            "prompts: no token ends between the two. Should PROMPT end with a newline?"
        )
    print(end="", flush=True)
