"""Places in which the strict rules look for an answer in a model's output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import declarations


class AnswerPlace(NamedTuple):
    """A place in an output, from `start` to before `end`.

    `declared` where a declaration brings the answer, so that the first fitting thing counts; in a
    part without a declaration that is read, the last one does.
    """

    start: int
    end: int
    declared: bool


def answer_places(text: str) -> Iterator[AnswerPlace]:
    """Yields where an answer is looked for, in the order in which the rules do so.

    These are of each region (`answer_regions`) its declarations, the last first, then all of it.
    """
    for region in regions(text):
        for found in declarations(region.text):
            start, end = found.read
            if start < end:
                first = region.place_in_output(start)
                yield AnswerPlace(first, region.place_in_output(end - 1) + 1, True)
        start = region.place_in_output(0)
        yield AnswerPlace(start, region.place_in_output(len(region.text) - 1) + 1, False)
