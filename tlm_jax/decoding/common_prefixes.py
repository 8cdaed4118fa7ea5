"""Common prefixes of many prompts: those worth working on once, and the prompts that have them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from tlm_jax.decoding.buckets import prefix_bucket

T = TypeVar("T")

FEWEST_TOKENS = 32
"""Shorter prefixes are not worth a program."""

WORTH_TOKENS_A_ROW = 128
"""So many prompt tokens a row a prefix must save: its program is compiled, and before another has
its turn, rows are idle until the last samples of this one have ended."""

TokenPrefix = tuple[int, ...]


def common_prefixes(
    prompts: Sequence[Sequence[int] | Integer[np.ndarray, " _"]], rows: int
) -> list[TokenPrefix]:
    """Returns the prefixes that save most tokens, those of most prompts first.

    A prompt belongs to the longest of them that it begins with; none is a whole prompt. Where all
    prompts begin alike, and some of them with further tokens, these have a longer prefix of their
    own only if it saves enough.

    Example: 40 prompts with the demonstrations of one data set and 40 with another's, behind one
    BOS, give two prefixes; 80 with the same ones give one.

    Args:
      prompts: token ids.
      rows: decoded at a time.
    """
    worth = WORTH_TOKENS_A_ROW * min(rows, len(prompts))
    # Prompts that begin alike stand together, in whatever order.
    ordered = sorted((np.asarray(p, np.int64) for p in prompts), key=lambda p: p.tobytes())
    # With the next prompt; the last one shares nothing with what follows.
    shared = [_shared(*pair) for pair in itertools.pairwise(ordered)] + [0]
    # Groups within each other, the largest first; the last one is that of the last prompt.
    groups = [_Group(0)]
    for prompt, depth in zip(ordered, shared):
        if depth > groups[-1].depth:
            groups.append(_Group(depth))
        groups[-1].add(prompt)
        while groups[-1].depth > depth:
            closed = groups.pop()
            closed.settle(worth)
            if groups[-1].depth < depth:
                groups.append(_Group(depth))
            groups[-1].join(closed)
    return [prefix for _, prefix in sorted(groups[0].chosen, key=lambda found: -found[0])]


def by_prefix(
    items: Iterable[T],
    prefixes: Sequence[Sequence[int]],
    prompt_of: Callable[[T], Sequence[int] | Integer[np.ndarray, " _"]],
) -> Iterator[tuple[TokenPrefix, Iterable[T]]]:
    """Yields the items of each prefix that some have; those without any come last.

    Args:
      items: requests, or what else has a prompt; taken at once, if there are prefixes.
      prefixes: token ids. A prompt has the longest that it begins with and goes on after.
      prompt_of: returns an item's tokens.
    """
    if not prefixes:
        yield (), items
        return
    families: dict[TokenPrefix, list[T]] = {tuple(prefix): [] for prefix in prefixes}
    longest_first = sorted(families, key=len, reverse=True)
    families.setdefault((), [])
    for item in items:
        prompt = prompt_of(item)
        found = (prefix for prefix in longest_first if _begins(prompt, prefix))
        families[next(found, ())].append(item)
    plain = families.pop(())
    yield from ((prefix, some) for prefix, some in families.items() if some)
    if plain:
        yield (), plain


def padded_prefix(
    prefix: TokenPrefix,
) -> tuple[Int32[np.ndarray, "1 P"], Bool[np.ndarray, "1 P"]]:
    """Returns the tokens for `models.read_prefix`, padded to one of few lengths, and their mask."""
    tokens = np.zeros((1, prefix_bucket(len(prefix))), np.int32)
    tokens[0, : len(prefix)] = prefix
    return tokens, np.arange(tokens.shape[1])[None] < len(prefix)


@dataclasses.dataclass
class _Group:
    """All prompts that share their first `depth` tokens, and how they are divided.

    Attributes:
      depth: how many tokens.
      example: one of the prompts.
      number: of prompts.
      loose: how many of them have no prefix yet.
      chosen: of each prefix how many prompts have it, and its tokens.
      saved: tokens, less what the prefixes must be worth.
    """

    depth: int
    example: Int64[np.ndarray, " _"] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64)
    )
    number: int = 0
    loose: int = 0
    chosen: list[tuple[int, TokenPrefix]] = dataclasses.field(default_factory=list)
    saved: int = 0

    def add(self, prompt: Int64[np.ndarray, " _"]) -> None:
        """Adds a prompt that shares no more tokens with any other."""
        self.example = prompt
        self.number += 1
        self.loose += 1

    def join(self, longer: _Group) -> None:
        """Adds a group that shares more tokens, once it is settled."""
        self.example = longer.example
        self.number += longer.number
        self.loose += longer.loose
        self.chosen += longer.chosen
        self.saved += longer.saved

    def settle(self, worth: int) -> None:
        """Takes what saves most: one prefix for all, one for the loose prompts, or none here."""
        if self.depth < FEWEST_TOKENS:
            return
        of_all = (self.number - 1) * self.depth - worth
        of_loose = (self.loose - 1) * self.depth - worth
        prefix = tuple(self.example[: self.depth].tolist())
        if of_all > 0 and of_all >= self.saved + max(of_loose, 0):
            self.chosen, self.saved, self.loose = [(self.number, prefix)], of_all, 0
        elif of_loose > 0:
            self.chosen.append((self.loose, prefix))
            self.saved += of_loose
            self.loose = 0


def _shared(one: Int64[np.ndarray, " _"], other: Int64[np.ndarray, " _"]) -> int:
    """Returns with how many tokens both begin, if each goes on after them."""
    most = max(min(len(one), len(other)) - 1, 0)
    different = np.flatnonzero(one[:most] != other[:most])
    return int(different[0]) if different.size else most


def _begins(prompt: Sequence[int] | Integer[np.ndarray, " _"], prefix: TokenPrefix) -> bool:
    return len(prompt) > len(prefix) and tuple(prompt[: len(prefix)]) == prefix
