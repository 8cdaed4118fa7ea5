"""Encodings of rows, and the part that those of sparse distributions share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int32

from tlm_jax.errors import UserError
from tlm_jax.ragged import exclusive_cumsum
from tlm_jax.teacher_cache import sparse_rows
from tlm_jax.teacher_cache.checked_steps import check_ids, check_weights
from tlm_jax.teacher_cache.header import FORMAT_VERSION
from tlm_jax.teacher_cache.huffman_reader import HuffmanCodebook
from tlm_jax.teacher_cache.sparse_codebook import SparseCodebook
from tlm_jax.teacher_cache.sparse_symbols import DecodedSymbols, SparseSymbols
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions

MAX_VOCABULARY = (1 << 20) - 1

Steps = tuple[np.ndarray, StepDistributions | HiddenSteps]
"""What a row's body holds: the scored token ids [T], and what the teacher said."""


class Encoding(abc.ABC):
    """How rows become bytes; a frozen dataclass whose fields are its settings.

    Rows are prepared one by one (checked, quantised), then encoded shard by shard: a shard has a
    codebook, fitted to its rows.
    """

    name: ClassVar[str]
    max_error_nats: ClassVar[float]
    """Bound of the error of every log-probability and tail, after normalisation."""

    @abc.abstractmethod
    def prepare(
        self,
        token_ids: Int32[np.ndarray, " T"],
        steps: StepDistributions | HiddenSteps,
        vocabulary_size: int,
    ) -> Any:
        """Checks and quantises a row; the result has `token_ids` and `digest()`.

        Raises:
          UserError: the row cannot be cached.
        """

    @abc.abstractmethod
    def tally(self, prepared: Any) -> dict[str, int]:
        """Returns what is counted over a shard: dropped steps, ..."""

    @abc.abstractmethod
    def fit(self, rows: Sequence[Any]) -> Any:
        """Returns the codebook for prepared rows; it has `to_bytes()`."""

    @abc.abstractmethod
    def read_codebook(self, data: bytes, version: int = FORMAT_VERSION) -> Any:
        """Reads a codebook of a format version. Raises ValueError if it is none."""

    @abc.abstractmethod
    def encode(self, codebook: Any, rows: Sequence[Any]) -> list[bytes]:
        """Returns the body of each prepared row."""

    @abc.abstractmethod
    def decode(self, codebook: Any, bodies: Sequence[bytes | memoryview]) -> list[Steps]:
        """Returns what the bodies hold. Raises ValueError if they do not fit the codebook."""

    def settings(self) -> dict[str, Any]:
        """Returns name and settings as JSON."""
        return {"name": self.name, **dataclasses.asdict(self)}  # pyright: ignore[reportArgumentType]


class SparseEncoding(Encoding):
    """An encoding whose steps are candidates with a level each.

    The level says how probable a candidate is: 0 or more, and higher for less probable ones.
    """

    @property
    @abc.abstractmethod
    def max_candidates(self) -> int:
        """Returns C, which no step exceeds."""

    @abc.abstractmethod
    def quantise(self, steps: StepDistributions, vocabulary_size: int) -> Quantised:
        """Checks distributions and gives candidates their levels."""

    @abc.abstractmethod
    def restore(self, symbols: DecodedSymbols) -> StepDistributions:
        """Returns the distributions of levels."""

    def prepare(
        self,
        token_ids: Int32[np.ndarray, " T"],
        steps: StepDistributions | HiddenSteps,
        vocabulary_size: int,
    ) -> SparseSymbols:
        if not isinstance(steps, StepDistributions):
            raise UserError(f"the encoding {self.name!r} takes distributions, not hidden states.")
        check_weights(steps.weights, len(token_ids))
        check_ids(token_ids, vocabulary_size, "the scored token id")
        found = self.quantise(steps, vocabulary_size)
        present = np.arange(found.ids.shape[1]) < found.counts[:, None]
        return SparseSymbols(
            token_ids,
            found.counts.astype(np.int32),
            found.ids[present].astype(np.int32),
            found.levels[present].astype(np.int32),
            np.where(found.counts > 0, found.tails, 0).astype(np.int32),
        )

    def tally(self, prepared: SparseSymbols) -> dict[str, int]:
        counts = prepared.counts
        return {
            "dropped_steps": int((counts == 0).sum()),
            "steps_with_fewer_candidates": int(
                ((counts > 0) & (counts < self.max_candidates)).sum()
            ),
            "candidates": int(counts.sum()),
        }

    def fit(self, rows: Sequence[SparseSymbols]) -> SparseCodebook:
        return SparseCodebook.of_rows(rows, self.max_candidates)

    def read_codebook(
        self, data: bytes, version: int = FORMAT_VERSION
    ) -> SparseCodebook | HuffmanCodebook:
        kind = HuffmanCodebook if version == 1 else SparseCodebook
        return kind.from_bytes(data, self.max_candidates)

    def encode(self, codebook: SparseCodebook, rows: Sequence[SparseSymbols]) -> list[bytes]:
        return sparse_rows.encode(codebook, rows)

    def decode(
        self, codebook: SparseCodebook | HuffmanCodebook, bodies: Sequence[bytes | memoryview]
    ) -> list[Steps]:
        if isinstance(codebook, HuffmanCodebook):
            symbols, lengths = codebook.decode(bodies)
        else:
            symbols, lengths = sparse_rows.decode(codebook, bodies)
        steps = self.restore(symbols)
        rows: list[Steps] = []
        for start, length in zip(exclusive_cumsum(lengths).tolist(), lengths.tolist()):
            here = slice(start, start + length)
            row = StepDistributions(
                steps.ids[here],
                steps.logprobs[here],
                steps.tail_logprobs[here],
                steps.weights[here],
            )
            rows.append((symbols.token_ids[here], row))
        return rows


@dataclasses.dataclass(frozen=True)
class Quantised:
    """T steps with levels; candidates of a step stand in front, the most probable first.

    Attributes:
      counts: candidates of each step, [T]; 0 where it was dropped.
      ids, levels: [T, C'].
      tails: symbols of the mass outside, [T]: 0 for none, else 1 + its level.
    """

    counts: np.ndarray
    ids: np.ndarray
    levels: np.ndarray
    tails: np.ndarray
