"""A data set enriched by a teacher: what it is asked of each record, and what is made of it."""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tlm_jax.data.records import Record
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.data.teacher_lm.lines import PUBLISHED, Layout, elicitation
from tlm_jax.errors import UserError

Sample = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Enhancement:
    """What becomes of generations that are not as they should be; as published all are kept.

    Attributes:
      empty: "keep" keeps a record whose generation is empty, with the field empty and named in
        `empty_fields`; "drop" leaves the record out.
      run_on: of a generation without an end token, that goes on to the limit: "keep" keeps all of
        it, "cut" its whole sentences, "empty" treats it as empty.
      cut_beyond: whether a generation ends before another marker or question that it writes.
    """

    empty: str = "keep"
    run_on: str = "keep"
    cut_beyond: bool = False

    def __post_init__(self) -> None:
        for name, known in (("empty", ("keep", "drop")), ("run_on", ("keep", "cut", "empty"))):
            if getattr(self, name) not in known:
                raise UserError(
                    f"Enhancement.{name} is {getattr(self, name)!r}, expected one of "
                    f"{', '.join(known)}"
                )


def elicitation_lines(
    records: Iterable[Record], field: str, layout: Layout = PUBLISHED
) -> list[str]:
    """Returns what `infer` is to be asked for a field, a line of JSON for each record.

    Nothing in it is graded: as published, explanations are kept whether they are right or wrong.

    Raises:
      UserError: a record has the field already.
    """
    lines = []
    for record in records:
        if field in record.generated:
            raise UserError(
                f"record {record.id!r} of {record.dataset!r} already has the field {field!r}: "
                "generated fields are added, never overwritten"
            )
        prompt = elicitation(record, field, layout)
        lines.append(
            json.dumps({"id": record.id, "prompt": prompt, "question": record.question}) + "\n"
        )
    return lines


def enriched(
    records: Sequence[Record],
    samples: Mapping[str, Iterable[Sample]],
    enhancement: Enhancement | None = None,
    layout: Layout = PUBLISHED,
) -> tuple[list[Record], dict[str, Any]]:
    """Returns the records with what the teachers wrote, and counts.

    A field (`cot`, `error`, `fundamental`) is the generation as it is, behind the prompt: a marker
    within the question is not looked at (the official code cuts at the first one). `all` has
    prompts and generations by field, and `cot_tail`, `error_tail` and `fundamental_tail` are these
    with double spaces made single ones, once.

    Args:
      records: those that were asked, no two of them with one id.
      samples: of each field, as `infer` writes them.
      enhancement: what becomes of wrong ones.
      layout: by which prompts were made.

    Returns:
      The records; and by field `generated`, `empty`, `run_on`, `went_on` (wrote another marker or
      question), `marker_in_question`, `not_round_trip` (prompts that the tokenizer does not give
      back), `tokens` and mean `tokens_each`; `dropped` records.

    Raises:
      UserError: a record has no sample of a field.
    """
    enhancement = enhancement or Enhancement()
    by_field = {field: {row["id"]: row for row in rows} for field, rows in samples.items()}
    counts: dict[str, collections.Counter[str]] = {f: collections.Counter() for f in by_field}
    found, dropped = [], 0
    for record in records:
        texts, whole, empty = {}, {}, []
        for field, rows in by_field.items():
            row = rows.get(record.id)
            if row is None:
                raise UserError(
                    f"record {record.id!r} of {record.dataset!r} has no generation of {field!r}"
                )
            prompt = elicitation(record, field, layout)
            text = _kept(row, record, enhancement, layout, counts[field])
            _note_prompt(record, prompt, row, layout, counts[field])
            texts[field], whole[field] = text, prompt + text
            if not text.strip():
                empty.append(field)
                counts[field]["empty"] += 1
        if empty and enhancement.empty == "drop":
            dropped += 1
            continue
        tails = {f"{field}_tail": text.replace("  ", " ") for field, text in whole.items()}
        marks = {"empty_fields": empty} if empty else {}
        found.append(record.with_generated(**texts, all=whole, **tails, **marks))
    return found, {"fields": {f: _figures(n) for f, n in counts.items()}, "dropped": dropped}


def _kept(
    row: Sample,
    record: Record,
    enhancement: Enhancement,
    layout: Layout,
    counts: collections.Counter[str],
) -> str:
    """Returns what is kept of a generation."""
    text = str(row["text"])
    counts["generated"] += 1
    counts["tokens"] += row.get("num_tokens") or 0
    beyond = _beyond(text, record, layout)
    if beyond is not None:
        counts["went_on"] += 1
        if enhancement.cut_beyond:
            text = text[:beyond].rstrip()
    if row.get("finish_reason") in CUT_OFF:
        counts["run_on"] += 1
        ended_before = enhancement.cut_beyond and beyond is not None
        if enhancement.run_on == "empty" and not ended_before:
            return ""
        if enhancement.run_on == "cut" and not ended_before:
            ends = list(_SENTENCE_END.finditer(text))
            return text[: ends[-1].end()] if ends else ""
    return text


def _beyond(text: str, record: Record, layout: Layout) -> int | None:
    """Returns where a generation begins another marker or question; None where it does not."""
    words = layout.words(record)
    question = re.compile(rf"(?:^|\s){re.escape(words.question)}")
    places = [text.find(marker) for marker in words.markers.values()]
    places += [match.start() for match in [question.search(text)] if match]
    return min((place for place in places if place >= 0), default=None)


def _note_prompt(
    record: Record, prompt: str, row: Sample, layout: Layout, counts: collections.Counter[str]
) -> None:
    asked = [record.question, *(record.options or ())]
    markers = layout.words(record).markers.values()
    counts["marker_in_question"] += any(m in text for m in markers for text in asked)
    counts["not_round_trip"] += row.get("prompt", prompt) != prompt


def _figures(counts: Mapping[str, int]) -> dict[str, Any]:
    names = ("generated", "empty", "run_on", "went_on", "marker_in_question", "not_round_trip")
    generated = counts["generated"]
    return {
        **{name: counts[name] for name in names},
        "tokens": counts["tokens"],
        "tokens_each": counts["tokens"] / generated if generated else None,
    }


_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？]")
