"""Test questions that stand in a training set: whole, as a part, or by 13 words in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, UInt64

from tlm_jax.data.words import words_of

PART_WORDS = 4
"""The fewest words of a whole text that count where they stand within another."""

RUN_WORDS = 13
"""Words in common that make a text known, as Brown et al. 2020 (GPT-3, appendix C) count."""


@dataclass(frozen=True)
class Overlap:
    """A test question that the training set has.

    Attributes:
      test: its number.
      train: number of the first training text that has it.
      kind: "same" words from beginning to end; a "run" of words in common; or, where that is
        short, one whole text as a "part" of the other, such as a question behind given facts.
      words: the words in common.
    """

    test: int
    train: int
    kind: Literal["same", "run", "part"]
    words: str


def question_text(question: str, options: Sequence[str] | None) -> str:
    """Returns a question with its options, without which many are the same, in any order."""
    return " ".join([question, *sorted(options or ())])


def overlaps(
    test: Sequence[str], train: Iterable[str], *, run_words: int = RUN_WORDS
) -> list[Overlap]:
    """Returns the test questions that are found in training texts, by their number.

    A question that is the same as a training text counts as "same", whatever its length; one that
    shares `run_words` words in a row with one counts as a "run"; one that holds a whole shorter
    training text of at least `PART_WORDS` words, or is so held, as a "part". A question without
    words is in none. Time and memory grow with the sum of the lengths of all texts: runs are looked
    up by a 64-bit hash, and each hit is compared word by word.

    Args:
      test: questions.
      train: texts.
      run_words: length of a run; 0 compares whole questions only.
    """
    ids: dict[str, int] = {}
    tested, trained = _Texts(test, ids), _Texts(train, ids)
    names = list(ids)
    found: dict[int, Overlap] = {}
    places: dict[bytes, int] = {}
    for number in range(len(trained)):
        places.setdefault(trained[number].tobytes(), number)
    for number in range(len(tested)):
        words = tested[number]
        if words.size and words.tobytes() in places:
            place = places[words.tobytes()]
            found[number] = Overlap(number, place, "same", " ".join(names[i] for i in words))
    common = _common(tested, trained, run_words) if run_words else ()
    for kind, number, place, run in common:
        if number not in found:
            found[number] = Overlap(number, place, kind, " ".join(names[i] for i in run))
    return [found[number] for number in sorted(found)]


class _Texts:
    """Texts as numbers of words, one after another."""

    def __init__(self, texts: Iterable[str], ids: dict[str, int]):
        words: list[int] = []
        ends: list[int] = []
        for text in texts:
            words += [ids.setdefault(word, len(ids)) for word in words_of(text)]
            ends.append(len(words))
        self.words = np.asarray(words, np.int64)
        self.ends = np.asarray(ends, np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> Int[np.ndarray, "w"]:
        start = self.ends[number - 1] if number else 0
        return self.words[start : self.ends[number]]

    def runs(self, length: int) -> tuple[UInt64[np.ndarray, "r"], Int[np.ndarray, "r"]]:
        """Returns the hash of each run within one text, and where it begins."""
        starts = np.arange(max(0, len(self.words) - length + 1))
        if not starts.size:
            return np.zeros(0, np.uint64), starts
        starts = starts[self._within(starts, length)]
        hashes = np.zeros(len(starts), np.uint64)
        with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
            scattered = _scatter(self.words.astype(np.uint64))
            for offset in range(length):
                hashes = hashes * _MULTIPLIER + scattered[starts + offset]
        return hashes, starts

    def of_length(self, length: int) -> _Texts:
        """Returns the texts with other numbers of words emptied."""
        result = object.__new__(_Texts)
        lengths = np.diff(self.ends, prepend=0)
        kept = lengths == length
        result.words = self.words[np.repeat(kept, lengths)]
        result.ends = np.cumsum(np.where(kept, lengths, 0))
        return result

    def texts_at(self, places: Int[np.ndarray, "r"]) -> Int[np.ndarray, "r"]:
        """Returns the number of the text that each word belongs to."""
        return np.searchsorted(self.ends, places, side="right")

    def _within(self, starts: Int[np.ndarray, "r"], length: int) -> Bool[np.ndarray, "r"]:
        return self.texts_at(starts) == self.texts_at(starts + length - 1)


def _common(
    test: _Texts, train: _Texts, run_words: int
) -> Iterator[tuple[Literal["run", "part"], int, int, Int[np.ndarray, "w"]]]:
    """Yields kind, test text, training text and words in common, runs before parts."""
    for number, place, run in _common_runs(test, train, run_words):
        yield "run", number, place, run
    for length in range(PART_WORDS, run_words):
        for number, place, run in _parts(test, train, length):
            yield "part", number, place, run
        for place, number, run in _parts(train, test, length):
            yield "part", number, place, run


def _common_runs(
    test: _Texts, train: _Texts, length: int
) -> Iterator[tuple[int, int, Int[np.ndarray, "w"]]]:
    """Yields test text, training text and words of runs in common, the first ones first."""
    train_hashes, train_starts = train.runs(length)
    test_hashes, test_starts = test.runs(length)
    # The first place of each hash, because the sort is stable.
    hashes, first = np.unique(train_hashes, return_index=True)
    if not hashes.size or not test_hashes.size:
        return
    place = np.minimum(np.searchsorted(hashes, test_hashes), len(hashes) - 1)
    hits = np.flatnonzero(hashes[place] == test_hashes)
    train_at = train_starts[first[place[hits]]]
    test_at = test_starts[hits]
    numbers, texts = test.texts_at(test_at), train.texts_at(train_at)
    for here, there, number, text in zip(test_at, train_at, numbers, texts):
        run = test.words[here : here + length]
        if np.array_equal(run, train.words[there : there + length]):
            yield int(number), int(text), run


def _parts(
    whole: _Texts, parts: _Texts, length: int
) -> Iterator[tuple[int, int, Int[np.ndarray, "w"]]]:
    """Yields text, part and words, for each of `parts` of a length that stands in a text."""
    return _common_runs(whole, parts.of_length(length), length)


def _scatter(values: UInt64[np.ndarray, "w"]) -> UInt64[np.ndarray, "w"]:
    """Returns 64 well-mixed bits of each number (the finalizer of SplitMix64)."""
    values = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_MULTIPLIER = np.uint64(0xD1342543DE82EF95)
