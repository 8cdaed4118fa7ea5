"""Finds what cached teachers say about examples, in the student's tokens."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import ml_dtypes
import numpy as np
from jaxtyping import Int32

from tlm_jax.alignment.mapping import Coverage, MappedSteps, check_options
from tlm_jax.alignment.rows import RowMapper
from tlm_jax.data.sources import Example, option_texts
from tlm_jax.data.teachers.join_counts import JoinCounts
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.encoding import SparseEncoding
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, TeacherRow, content_key
from tlm_jax.vocabularies import Vocabulary
from tlm_jax.vocabularies.token_bytes import token_table

Steps = StepDistributions | HiddenSteps

UNTAUGHT = "untaught"
"""A field of examples of which no teacher was asked, such as answers without a solution."""


@dataclasses.dataclass(frozen=True)
class TeacherJoin:
    """Which caches are joined with `TASK_with_teacher` tasks, and how.

    Attributes:
      caches: directories that `tlm_jax.cache_teacher` wrote, all of one teacher.
      teacher_fingerprint: of the teacher that is expected; None takes whichever it is.
      num_candidates: C of the batch; None for as many as the caches hold. Of a row with more, the
        most probable are kept and the mass of the others joins the tail.
      alignment: between another tokenizer's steps and the student's tokens: "offsets" by the bytes
        they cover, "dtw" as published for Flan-T5.
      lost_mass: what becomes of candidates that the student's vocabulary lacks: "tail" adds their
        mass to the tail, "renormalize" shares it out, "unnormalized" drops it as the published
        code does.
      hard: a student's token without a counterpart has itself as the target ("one_hot", as
        published) or none ("drop"). None leaves it to the run: "one_hot" where its divergence can
        learn from one.
      on_unmatched: an example that no row fits is trained without a teacher, and counted
        ("continue"), or ends the run ("stop").
      on_damage: damaged rows of a cache end the run ("stop") or are left out and counted ("skip").
    """

    caches: Sequence[str]
    teacher_fingerprint: str | None = None
    num_candidates: int | None = None
    alignment: Literal["offsets", "dtw"] = "offsets"
    lost_mass: Literal["tail", "renormalize", "unnormalized"] = "tail"
    hard: Literal["one_hot", "drop"] | None = None
    on_unmatched: Literal["continue", "stop"] = "continue"
    on_damage: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        if isinstance(self.caches, str) or not self.caches:
            raise UserError(
                f"TeacherJoin.caches is {self.caches!r}: expected a list of directories that "
                "`python -m tlm_jax.cache_teacher` wrote"
            )
        if self.num_candidates is not None and self.num_candidates < 1:
            raise UserError(f"TeacherJoin.num_candidates is {self.num_candidates}: at least 1")
        check_options(self.alignment, self.lost_mass, self.hard or "one_hot")
        if self.on_unmatched not in ("continue", "stop"):
            raise UserError(
                f"TeacherJoin.on_unmatched is {self.on_unmatched!r}: 'continue' or 'stop'"
            )


class OpenTeacher:
    """The caches of a `TeacherJoin`, opened once for a run; safe to use from several threads.

    Attributes:
      cache: the rows.
      counts: what was joined so far.
      say: is given a line for people, should no example at all be found.
    """

    def __init__(self, join: TeacherJoin, vocabulary: Vocabulary):
        """Opens the caches.

        Args:
          join: the settings.
          vocabulary: the student's.

        Raises:
          UserError: a cache is absent, damaged, of another teacher than expected, or holds hidden
            states of another vocabulary.
        """
        self.join = join
        self.cache = TeacherCache.open(list(join.caches), on_damage=join.on_damage)
        self.cache.check_matches(teacher_fingerprint=join.teacher_fingerprint)
        self.counts = JoinCounts()
        self.say: Callable[[str], None] = lambda line: None
        self._noted = False
        self._lock = threading.Lock()
        student = token_table(vocabulary)
        self._mapper: RowMapper | None = None
        if self.cache.header.tokenizer_fingerprint != student.fingerprint:
            if self.cache.encoding.name == "hidden":
                self.cache.check_matches(tokenizer_fingerprint=student.fingerprint)
            self._mapper = RowMapper(
                self.cache.table,
                student,
                method=join.alignment,
                lost_mass=join.lost_mass,
                hard=join.hard or "one_hot",
            )

    @property
    def fingerprint(self) -> str:
        """A hash of the rows' digests and of how they are joined, for resuming."""
        shards = sorted(shard.entry.sha256 for shard in self.cache.shards)
        join = dataclasses.replace(self.join, caches=("",), hard=self.join.hard or "one_hot")
        content = repr((shards, join))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def is_mapped(self) -> bool:
        """Whether the caches are of another vocabulary than the student's."""
        return self._mapper is not None

    @property
    def num_candidates(self) -> int:
        """C of the batch; 0 where it holds hidden states."""
        if not isinstance(self.cache.encoding, SparseEncoding):
            return 0
        return self.join.num_candidates or self.cache.encoding.max_candidates

    def features(self) -> dict[str, np.ndarray]:
        """Returns the aligned features, with no steps: their names, types and widths."""
        features = {"teacher_weights": np.zeros(0, np.float32)}
        unembedding = self.cache.unembedding if self.num_candidates == 0 else None
        if unembedding is not None:
            width = unembedding.matrix.shape[0]
            return features | {"teacher_hidden": np.zeros((0, width), ml_dtypes.bfloat16)}
        shape = (0, max(self.num_candidates, 1))
        return features | {
            "teacher_token_ids": np.zeros(shape, np.int32),
            "teacher_logprobs": np.zeros(shape, np.float32),
            "teacher_tail_logprobs": np.zeros(0, np.float32),
        }

    def steps_of(
        self, examples: Sequence[Example], tokens: Sequence[Int32[np.ndarray, " _"]]
    ) -> list[Steps | None]:
        """Returns what the teacher says about each example, one step a token of its targets.

        Args:
          examples: as their source gave them.
          tokens: their targets in the student's vocabulary, EOS included where the task adds it.

        Returns:
          None for an example without a row, which is counted; and for one that says itself, by the
          field `UNTAUGHT`, that it has none.

        Raises:
          UserError: there is no row for an example, and the join is to stop at that.
        """
        fields = self.cache.header.key_fields
        found: list[Steps | None] = [None] * len(examples)
        asked = [number for number, example in enumerate(examples) if not example.get(UNTAUGHT)]
        rows: list[TeacherRow | None] = [None] * len(examples)
        read = self.cache.get_many([example_key(examples[number], fields) for number in asked])
        for number, row in zip(asked, read):
            rows[number] = row
        known = {number: row for number, row in enumerate(rows) if row is not None}
        aligned = self._aligned(list(known.values()), [tokens[number] for number in known])
        for number, result in zip(known, aligned):
            if isinstance(result, UserError):
                self._count_without("refused", examples[number], str(result))
                continue
            found[number], coverage = result
            with self._lock:
                self.counts.matched += 1
                self.counts.coverage += coverage
        for number in asked:
            example = examples[number]
            if rows[number] is None:
                stale = self.cache.keys_of(str(example.get("id", "")))
                self._count_without("stale" if stale else "missing", example)
        self._report_if_none()
        return found

    def _aligned(
        self, rows: Sequence[TeacherRow], tokens: Sequence[np.ndarray]
    ) -> list[tuple[Steps, Coverage] | UserError]:
        if self._mapper is None:
            return [_as_they_are(row, ids) for row, ids in zip(rows, tokens)]
        try:
            return [_of(mapped) for mapped in self._mapper.map_rows(rows, tokens)]
        except UserError as error:
            if len(rows) == 1:
                return [error]
            # One of them is wrong: the others are not to suffer for it.
            return [self._aligned([row], [ids])[0] for row, ids in zip(rows, tokens)]

    def _report_if_none(self) -> None:
        """Tells, once, of a cache that seems to be of other examples, before a long run ends."""
        with self._lock:
            counts = self.counts
            first = not self._noted and counts.examples >= _ENOUGH_TO_TELL
            self._noted = self._noted or first
        if first and not counts.matched:
            self.say(
                f"note: none of the first {counts.examples:,} examples has a teacher's row; the "
                f"first is {counts.first_unmatched}. TEACHER_ON_UNMATCHED='stop' ends a run there."
            )

    def _count_without(self, why: str, example: Example, detail: str = "") -> None:
        text = f"{example.get('id')!r} ({why}{': ' + detail if detail else ''})"
        with self._lock:
            setattr(self.counts, why, getattr(self.counts, why) + 1)
            self.counts.first_unmatched = self.counts.first_unmatched or text
        if self.join.on_unmatched == "stop":
            raise UserError(
                f"no teacher's row for example {text} in {', '.join(self.join.caches)}: score it "
                "with `python -m tlm_jax.cache_teacher score`, or set "
                "TEACHER_ON_UNMATCHED='continue' to train it without a teacher."
            )


def example_key(example: Example, fields: Sequence[str]) -> str:
    """Returns the content key of an example's fields; `inputs` stands in for an absent `question`.

    Raises:
      UserError: it lacks one of the fields, or has options which the fields leave out.
    """
    texts: list[str] = []
    options = option_texts(example)
    if options and "options" not in fields and "question" in fields:
        raise UserError(
            f"example {example.get('id')!r} has options, and the cache was made by an earlier "
            "version, whose keys leave them out: a row could be another question's. Make the cache "
            "again (`python -m tlm_jax.cache_teacher` score or import)."
        )
    for name in fields:
        if name == "options":
            texts += options
            continue
        text = example.get(name) or (example.get("inputs") if name == "question" else None)
        if not isinstance(text, str):
            raise UserError(
                f"example {example.get('id')!r} has no text {name!r}, by which the cache knows its "
                f"rows; it has {', '.join(example)}."
            )
        texts.append(text)
    return content_key(*texts)


def fill_of(feature: str) -> float:
    """Returns what stands where a feature of `OpenTeacher.features` has no teacher's step."""
    return -np.inf if feature.endswith("logprobs") else 0.0


def _of(mapped: MappedSteps) -> tuple[Steps, Coverage]:
    return mapped.steps, mapped.coverage


def _as_they_are(row: TeacherRow, tokens: np.ndarray) -> tuple[Steps, Coverage] | UserError:
    """Returns the steps of a row in the student's own tokens, which may differ in the last EOS."""
    kept = min(len(row.token_ids), len(tokens))
    same = np.array_equal(row.token_ids[:kept], tokens[:kept])
    if not same or abs(len(row.token_ids) - len(tokens)) > 1:
        return UserError(
            f"its row scored {len(row.token_ids)} tokens, which are not the {len(tokens)} of its "
            "text now"
        )
    has_teacher = row.steps.weights[:kept] != 0
    soft = int(has_teacher.sum())
    mass = float(soft)  # hidden states give whole distributions
    if isinstance(row.steps, StepDistributions):
        mass = float(np.exp(row.steps.logprobs[:kept][has_teacher].astype(np.float64)).sum())
    coverage = Coverage(soft=soft, dropped=len(tokens) - soft, kept_mass=mass)
    return _resized(row.steps, kept, len(tokens)), coverage


def _resized(steps: Steps, kept: int, length: int) -> Steps:
    """Returns the first `kept` steps, followed by steps without a teacher."""
    resized: dict[str, np.ndarray] = {}
    for field in dataclasses.fields(steps):
        values = getattr(steps, field.name)
        shape = (length, *values.shape[1:])
        resized[field.name] = np.full(shape, fill_of(field.name), values.dtype)
        resized[field.name][:kept] = values[:kept]
    return dataclasses.replace(steps, **resized)


_ENOUGH_TO_TELL = 100
"""Examples; where so many have no row, a cache is not likely to be theirs."""
