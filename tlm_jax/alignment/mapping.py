"""Teacher distributions of one text turned into distributions over the student's tokens."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int, UInt8

from tlm_jax.alignment.aligned import Alignment
from tlm_jax.alignment.aligned_rows import AlignedRow, join
from tlm_jax.alignment.candidates import Candidates
from tlm_jax.alignment.soft_tokens import logprobs_of_whitespace, same_spelling, same_text
from tlm_jax.alignment.vocabulary_map import VocabularyMap
from tlm_jax.errors import UserError, nearest
from tlm_jax.teacher_cache.steps import StepDistributions

Method = Literal["offsets", "dtw"]
LostMass = Literal["tail", "renormalize", "unnormalized"]
HardTargets = Literal["one_hot", "drop"]


class Kind(enum.IntEnum):
    """What a student token learns from."""

    SOFT = 0
    """The teacher's distribution at the step aligned to it."""
    HARD = 1
    """The token itself with probability 1."""
    DROPPED = 2
    """Nothing: its weight is 0."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How much of what a teacher said reached the student; sums of these are of the same kind.

    Attributes:
      soft: student tokens with a distribution of the teacher's.
      hard: with the token itself as target.
      dropped: without a target.
      kept_mass: probability of the teacher's candidates that have a place in the student's
        vocabulary, summed over soft tokens; `kept_mass / soft` is their mean.
    """

    soft: int = 0
    hard: int = 0
    dropped: int = 0
    kept_mass: float = 0.0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.soft + other.soft,
            self.hard + other.hard,
            self.dropped + other.dropped,
            self.kept_mass + other.kept_mass,
        )

    @property
    def tokens(self) -> int:
        """All student tokens."""
        return self.soft + self.hard + self.dropped


@dataclasses.dataclass(frozen=True, eq=False)
class MappedSteps:
    """A text's targets over the student's vocabulary.

    Attributes:
      steps: one distribution a student token; hard targets are one candidate of probability 1.
      kinds: a `Kind` a student token.
      coverage: counts of these.
    """

    steps: StepDistributions
    kinds: UInt8[np.ndarray, " m"]
    coverage: Coverage


def map_steps(
    row_token_ids: Int[np.ndarray, " T"],
    steps: StepDistributions,
    alignment: Alignment,
    vocabulary_map: VocabularyMap,
    student_token_ids: Int[np.ndarray, " m"],
    *,
    method: Method = "offsets",
    lost_mass: LostMass = "tail",
    hard: HardTargets = "one_hot",
) -> MappedSteps:
    """Maps one row; see `AlignedRow` for the first four and `map_many` for the others."""
    row = AlignedRow(row_token_ids, steps, alignment, student_token_ids)
    (mapped,) = map_many([row], vocabulary_map, method=method, lost_mass=lost_mass, hard=hard)
    return mapped


def map_many(
    rows: Sequence[AlignedRow],
    vocabulary_map: VocabularyMap,
    *,
    method: Method = "offsets",
    lost_mass: LostMass = "tail",
    hard: HardTargets = "one_hot",
) -> list[MappedSteps]:
    """Returns what the teacher's distributions say of the student's tokens.

    A student token is soft where it stands for the same text as the one teacher token aligned to
    it: then the candidates of that step, mapped one by one, are its candidates. With `offsets`

    - the teacher tokens of whitespace only that stand before that one may be aligned to it as
      well. By the chain rule candidates then have the probability of that whitespace times their
      own; what else the teacher might have written there is in the tail;
    - candidates that map to the same student piece add up; EOS is soft.

    With `dtw` the published rule holds: the same spelling, the first of candidates that map to the
    same piece, EOS is hard. Everything else is hard: tokens aligned to several steps or to none,
    steps of weight 0, steps none of whose candidates the student can write.

    Args:
      rows: what to map; candidates of probability 0 count as absent.
      vocabulary_map: of the two vocabularies.
      method: which rule decides what is soft.
      lost_mass: of candidates without a student piece. "tail": it joins the tail. "renormalize":
        the others are scaled to sum to 1. "unnormalized": the others stay as they are and the
        tail is dropped, as published.
      hard: "one_hot", or "drop" for weight 0.

    Raises:
      UserError: an unknown option, ids outside the vocabulary, probabilities that sum to more
        than rounding explains.
    """
    check_options(method, lost_mass, hard)
    if not rows:
        return []
    joined = join(rows, vocabulary_map.maps.shape[1])
    alignment, steps = joined.alignment, joined.steps
    has_steps = alignment.counts > 0
    last = np.zeros(len(has_steps), np.intp)  # of the steps of each token
    last[has_steps] = alignment.steps[(alignment.starts + alignment.counts - 1)[has_steps]]
    choose = same_spelling if method == "dtw" else same_text
    chosen_map = choose(joined, vocabulary_map, last)
    before = logprobs_of_whitespace(joined, chosen_map)
    soft = (chosen_map >= 0) & (before > -np.inf)
    soft[soft] = steps.weights[last[soft]] > 0

    mapped = vocabulary_map.maps[chosen_map[soft][:, None], steps.ids[last[soft]]]
    candidates = Candidates.of(mapped, steps, last[soft], merge=method == "offsets")
    can_be_written = candidates.kept_mass > 0
    soft[soft] = can_be_written
    candidates = candidates.take(can_be_written).after(before[soft])

    kinds = np.where(soft, Kind.SOFT, Kind.DROPPED if hard == "drop" else Kind.HARD)
    kept_mass = np.zeros(len(kinds))
    kept_mass[soft] = candidates.kept_mass
    targets = _assemble(kinds, joined.student_token_ids, steps.ids.shape[1], candidates, lost_mass)
    return _split(targets, kinds, kept_mass, joined.lengths)


def _split(
    targets: StepDistributions,
    kinds: Int[np.ndarray, " m"],
    kept_mass: Float64[np.ndarray, " m"],
    lengths: Int[np.ndarray, " rows"],
) -> list[MappedSteps]:
    """Returns what belongs to each row."""
    rows = np.arange(len(lengths)).repeat(lengths)
    counts = np.bincount(3 * rows + kinds, minlength=3 * len(lengths)).reshape(-1, 3).tolist()
    mass = np.bincount(rows, kept_mass, minlength=len(lengths)).astype(float).tolist()
    ends = np.cumsum(lengths)
    return [
        MappedSteps(
            steps=StepDistributions(
                targets.ids[a:b],
                targets.logprobs[a:b],
                targets.tail_logprobs[a:b],
                targets.weights[a:b],
            ),
            kinds=kinds[a:b].astype(np.uint8),
            coverage=Coverage(counts[row][0], counts[row][1], counts[row][2], mass[row]),
        )
        for row, (a, b) in enumerate(zip((ends - lengths).tolist(), ends.tolist()))
    ]


def _assemble(
    kinds: Int[np.ndarray, " m"],
    student_token_ids: Int[np.ndarray, " m"],
    num_candidates: int,
    candidates: Candidates,
    lost_mass: LostMass,
) -> StepDistributions:
    """Returns the targets of all tokens, the most probable candidates first."""
    shape = (len(kinds), num_candidates)
    ids, logprobs = np.zeros(shape, np.int32), np.full(shape, -np.inf, np.float32)
    tail_logprobs = np.full(len(kinds), -np.inf, np.float32)
    is_hard, is_soft = kinds == Kind.HARD, kinds == Kind.SOFT
    ids[is_hard, 0] = student_token_ids[is_hard]
    logprobs[is_hard, 0] = 0
    if is_soft.any():
        kept, tail = candidates.kept_mass, candidates.tail
        if lost_mass == "tail":
            scale = np.maximum(kept + tail, 1)  # sums above 1 by rounding
        else:
            scale = kept if lost_mass == "renormalize" else np.ones_like(kept)
            tail = np.zeros_like(kept)
        with np.errstate(divide="ignore"):
            found = np.log(candidates.probabilities / scale[:, None])
            tail_logprobs[is_soft] = np.log(tail / scale)
        order = np.argsort(-found, axis=-1, kind="stable")
        found = np.take_along_axis(found, order, -1)
        logprobs[is_soft] = found
        ids[is_soft] = np.where(found > -np.inf, np.take_along_axis(candidates.ids, order, -1), 0)
    return StepDistributions(
        ids, logprobs, tail_logprobs, (kinds != Kind.DROPPED).astype(np.float32)
    )


def check_options(method: str, lost_mass: str, hard: str) -> None:
    """Raises UserError for an option that `map_steps` does not know."""
    for name, given, known in (
        ("method", method, get_args(Method)),
        ("lost_mass", lost_mass, get_args(LostMass)),
        ("hard", hard, get_args(HardTargets)),
    ):
        if given not in known:
            raise UserError(
                f"unknown {name} {given!r} of token alignment: expected one of "
                f"{', '.join(known)}.{nearest(given, known)}"
            )
