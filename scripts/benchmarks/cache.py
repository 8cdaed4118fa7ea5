"""Teacher cache: bytes a token of each encoding, tokens written and read a second on one core."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tlm_jax.teacher_cache import CacheWriter, Header, Sampled, TeacherCache, TopK
from tlm_jax.teacher_cache.sampled import steps_from_draws
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow, content_key


@dataclasses.dataclass(frozen=True)
class Source:
    """Distributions to measure with."""

    what: str
    vocabulary_size: int
    rows: Sequence[TeacherRow]


def main(arguments: Sequence[str]) -> int:
    """Measures each encoding on distributions of a cache, or on made-up ones."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark cache", description=__doc__)
    parser.add_argument("--cache", help="directory of a topk cache: a real teacher's distributions")
    parser.add_argument(
        "--vocabulary", type=int, default=32_000, help="drop ids from here on; default 32,000"
    )
    parser.add_argument("--rows", type=int, default=64, help="made-up texts of 100 tokens")
    parser.add_argument("--repeat", type=int, default=40, help="read each row so often in a turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args(arguments)
    if options.cache:
        sources = [_of_cache(Path(options.cache), options.vocabulary)]
    else:
        sources = [_made_up(options.rows, options.vocabulary, zipf) for zipf in (True, False)]
    for source in sources:
        tokens = sum(len(row.token_ids) for row in source.rows)
        print(f"{source.what}: {len(source.rows)} texts, {tokens:,} tokens", flush=True)
        for candidates in (8, 50):
            _measure(f"topk {candidates}", TopK(candidates), source, options)
        _measure("topk, mass 0.95", TopK(50, mass=0.95), source, options)
        _measure("sampled 12", Sampled(12), _drawn(source, 12), options)
    return 0


def _measure(
    name: str, encoding: TopK | Sampled, source: Source, options: argparse.Namespace
) -> None:
    header = Header("benchmark", "", "", source.vocabulary_size)
    tokens = sum(len(row.token_ids) for row in source.rows)
    with tempfile.TemporaryDirectory() as scratch:
        encoded = []
        for turn in range(3):
            directory = Path(scratch, str(turn))

            def write(directory: Path = directory) -> None:
                with CacheWriter(directory, header, encoding=encoding) as writer:
                    for row in source.rows:
                        writer.write(row)

            encoded.append(tokens / _cpu_seconds(write))
        cache = TeacherCache.open(directory)
        size = sum(shard.entry.bytes for shard in cache.shards)
        keys = list(cache.keys()) * options.repeat
        cache.get_many(keys)  # opens the shard
        read = [
            options.repeat * tokens / _cpu_seconds(lambda: cache.get_many(keys))
            for _ in range(options.turns)
        ]
    print(
        f"  {name:16} {size / tokens:6.1f} bytes a token; writes {max(encoded):9,.0f}, reads "
        f"{statistics.median(read):11,.0f} tokens a second (best {max(read):,.0f})",
        flush=True,
    )


def _cpu_seconds(call: Callable[[], object]) -> float:
    """Returns the CPU time of a call: one thread's, whatever else the machine does."""
    start = time.process_time()
    call()
    return time.process_time() - start


def _of_cache(directory: Path, vocabulary: int) -> Source:
    cache = TeacherCache.open(directory)
    size = min(vocabulary, cache.header.vocabulary_size)
    rows = []
    for row in cache.rows():
        assert isinstance(row.steps, StepDistributions)
        kept = np.where(row.steps.ids < size, row.steps.logprobs, -np.inf)
        order = np.argsort(-kept, axis=1, kind="stable")
        ids, logprobs = (np.take_along_axis(a, order, axis=1) for a in (row.steps.ids, kept))
        ids = np.where(np.isfinite(logprobs), ids, 0).astype(np.int32)
        steps = _normalised(ids, logprobs, row.steps.tail_logprobs)
        tokens = np.where(row.token_ids < size, row.token_ids, ids[:, 0]).astype(np.int32)
        rows.append(dataclasses.replace(row, token_ids=tokens, steps=steps))
    return Source(f"{cache.header.teacher}, its first {size:,} ids", size, rows)


def _made_up(num_rows: int, vocabulary: int, zipf: bool) -> Source:
    """Returns texts whose logits are a prior over the vocabulary and noise.

    The prior is Zipf's law, as in any language, or none: then all ids are equally frequent, and
    nothing can be saved on them.
    """
    random = np.random.default_rng(0)
    prior = -np.log(np.arange(vocabulary) + 2.7) if zipf else np.zeros(vocabulary)
    prior = prior[random.permutation(vocabulary)].astype(np.float32)
    rows = []
    for number in range(num_rows):
        noise = random.standard_normal((100, vocabulary), np.float32)
        logits = prior + np.float32(2.5) * noise
        top = np.argpartition(-logits, 64, axis=1)[:, :64]
        chosen = np.take_along_axis(logits, top, axis=1)
        order = np.argsort(-chosen, axis=1)
        ids, best = (np.take_along_axis(a, order, axis=1) for a in (top, chosen))
        # As peaked as a language model: most of the mass on few of the candidates.
        best = 2 * (best - best[:, :1])
        tail = best[:, -1] + 3
        steps = _normalised(ids.astype(np.int32), best, tail)
        key = content_key(str(number))
        rows.append(TeacherRow(key, str(number), steps.ids[:, 0], steps))
    what = "Zipf's law and noise" if zipf else "all ids equally frequent"
    return Source(f"made up, {what}", vocabulary, rows)


def _normalised(ids: np.ndarray, logprobs: np.ndarray, tail: np.ndarray) -> StepDistributions:
    total = np.logaddexp(np.logaddexp.reduce(logprobs, axis=1), tail)
    return StepDistributions(
        ids,
        (logprobs - total[:, None]).astype(np.float32),
        (tail - total).astype(np.float32),
        np.ones(len(ids), np.float32),
    )


def _drawn(source: Source, num_draws: int) -> Source:
    """Returns draws; what falls on the tail is any id, which costs most."""
    random = np.random.default_rng(0)
    rows = []
    for row in source.rows:
        assert isinstance(row.steps, StepDistributions)
        ends = np.cumsum(np.exp(row.steps.logprobs.astype(np.float64)), axis=1)
        where = random.random((len(ends), num_draws))
        places = (where[:, :, None] > ends[:, None, :]).sum(2)
        anywhere = random.integers(0, source.vocabulary_size, places.shape)
        inside = np.minimum(places, ends.shape[1] - 1)
        candidates = np.take_along_axis(row.steps.ids, inside, axis=1)
        draws = np.where(places < ends.shape[1], candidates, anywhere).astype(np.int32)
        rows.append(dataclasses.replace(row, steps=steps_from_draws(draws, row.steps.weights)))
    return dataclasses.replace(source, rows=rows)
