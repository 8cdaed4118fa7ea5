"""Small rows, and caches of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.teacher_cache import CacheWriter, Header, TopK
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow, content_key

VOCABULARY = 100


def distributions(random, num_steps: int, num_candidates: int, sharpness: float = 3.0):
    """Returns the most probable candidates of random distributions, and their exact tails."""
    logits = sharpness * random.standard_normal((num_steps, VOCABULARY))
    logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    order = np.argsort(-logprobs, axis=1)
    in_order = np.take_along_axis(logprobs, order, axis=1)
    with np.errstate(divide="ignore"):
        tail = np.log(np.exp(in_order[:, num_candidates:]).sum(1))
    return StepDistributions(
        order[:, :num_candidates].astype(np.int32),
        in_order[:, :num_candidates].astype(np.float32),
        tail.astype(np.float32),
        np.ones(num_steps, np.float32),
    )


def make_row(number: int, *, num_candidates: int = 4, num_steps: int | None = None) -> TeacherRow:
    """Returns row `number`, always the same; every two rows are of one example."""
    random = np.random.default_rng(number)
    steps = distributions(random, num_steps or 3 + number % 5, num_candidates)
    tokens = np.where(random.random(len(steps.ids)) < 0.8, steps.ids[:, 0], 7).astype(np.int32)
    return TeacherRow(content_key(f"text {number}"), f"example-{number // 2}", tokens, steps)


@pytest.fixture
def row_of() -> Callable[..., TeacherRow]:
    return make_row


@pytest.fixture
def header() -> Header:
    return Header(
        teacher="a teacher",
        teacher_fingerprint="parameters-1",
        tokenizer_fingerprint="tokens-1",
        vocabulary_size=VOCABULARY,
        source_task="task_a",
    )


@pytest.fixture
def fill(header: Header) -> Callable[..., Path]:
    """Writes rows of the given numbers into a directory, by default as one host."""

    def write(directory: Path, numbers, **options) -> Path:
        settings = {"encoding": TopK(4), "rows_per_shard": 5, **options}
        with CacheWriter(directory, settings.pop("header", header), **settings) as writer:
            for number in numbers:
                writer.write(make_row(number))
        return directory

    return write


@pytest.fixture(scope="session")
def through() -> Callable[..., StepDistributions]:
    """Encodes and decodes steps as one row."""

    def passed(encoding, steps, *, vocabulary=VOCABULARY, token_ids=None) -> StepDistributions:
        tokens = np.zeros(len(steps.weights), np.int32) if token_ids is None else token_ids
        prepared = encoding.prepare(tokens, steps, vocabulary)
        book = encoding.read_codebook(encoding.fit([prepared]).to_bytes())
        ((found_tokens, found),) = encoding.decode(book, encoding.encode(book, [prepared]))
        assert found_tokens.tolist() == tokens.tolist()
        return found

    return passed
