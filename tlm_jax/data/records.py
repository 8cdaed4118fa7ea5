"""The record: one labelled question as text, which every method reads and enriches."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from tlm_jax.data.text_lines import numbered_lines, written_text
from tlm_jax.data.words import words_of
from tlm_jax.errors import UserError, system_reason

Kind = Literal["numeric", "choice", "boolean", "text"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters of the options, in order; a question has at most this many options."""


@dataclass(frozen=True)
class Record:
    """A question with its gold answer.

    Attributes:
      id: unique within `dataset`.
      dataset: the name of the data set.
      split: the split it belongs to, in the source's own words ('train', 'dev', 'test', ...).
      kind: how `answer` is written and graded. 'numeric': a float without thousands commas;
        'choice': a letter, A for the first of `options`; 'boolean': 'yes' or 'no'; 'text': free.
      question: the question without its options.
      options: texts of the options, or None.
      answer: the gold answer; of kind 'text' it may be empty, which means that the source has none.
      rationale: the explanation before the final answer, or None.
      meta: whatever else the source gives.
      generated: fields a method has added ('cot', 'fundamental', 'samples', ...).
    """

    id: str
    dataset: str
    split: str
    kind: Kind
    question: str
    options: tuple[str, ...] | None
    answer: str
    rationale: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    generated: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise UserError(f"Record {self.id!r} of {self.dataset!r}: {problem}")

    def with_generated(self, **fields: Any) -> Record:
        """Returns the record with fields a method made; an existing field is never overwritten."""
        for name in fields:
            if name in _SOURCE_FIELDS or name in self.generated:
                raise UserError(
                    f"Record {self.id!r} of {self.dataset!r} already has the field {name!r}: "
                    "generated fields are added, never overwritten. Choose another name."
                )
        return replace(self, generated={**self.generated, **fields})

    def get(self, name: str) -> Any:
        """Returns a field by name, generated or not; a missing or null one is a UserError."""
        value = getattr(self, name) if name in _SOURCE_FIELDS else self.generated.get(name)
        if value is None:
            present = [f for f in _SOURCE_FIELDS if getattr(self, f) is not None]
            raise UserError(
                f"Record {self.id!r} of {self.dataset!r} has no field {name!r}; "
                f"it has {', '.join([*present, *self.generated])}."
            )
        return value

    def content_key(self) -> str:
        """Returns question and options, without differences of case, white space and their order.

        Records with the same key ask the same.
        """
        options = sorted(" ".join(option.lower().split()) for option in self.options or ())
        return " ".join([*self.question.lower().split(), *options])

    def question_words(self) -> tuple[str, ...]:
        """Returns the words of the question, then those of each option, in any order of options.

        Records that differ in punctuation alone have the same; of symbols without a word,
        `content_key` is the only one.
        """
        options = sorted(" ".join(words_of(option)) for option in self.options or ())
        words = " ".join(words_of(self.question)), *options
        return words if any(words) else (self.content_key(),)

    def answer_text(self) -> str:
        """Returns the answer in words: the option's text for a choice, else the answer itself."""
        if self.kind == "choice":
            assert self.options is not None
            return self.options[LETTERS.index(self.answer)]
        return self.answer


def from_dict(fields: Mapping[str, Any], where: str = "record") -> Record:
    """Returns the record that a JSON object holds; keys beyond the nine are generated fields.

    Args:
      fields: the object. A null answer (the source has none) becomes an empty one of kind 'text'.
      where: what to call the object in an error, such as 'train.jsonl:17'.
    """
    named = f"{where}, record {fields.get('id', '(no id)')!r}"
    for name in ("id", "dataset", "split", "kind", "question", "answer"):
        if name not in fields:
            raise UserError(f"{named}: the field {name!r} is missing.")
    for name in ("id", "dataset", "split", "kind", "question"):
        if not isinstance(fields[name], str):
            raise UserError(f"{named}: the field {name!r} must be text, got {fields[name]!r}.")
    answer, options = fields["answer"], fields.get("options")
    if fields["kind"] not in get_args(Kind):
        known = ", ".join(get_args(Kind))
        raise UserError(f"{named}: kind must be one of {known}, got {fields['kind']!r}.")
    if not isinstance(answer, str | None):
        raise UserError(f"{named}: the field 'answer' must be text, got {answer!r}.")
    if options is not None and not _is_list_of_text(options):
        raise UserError(f"{named}: the field 'options' must be a list of texts, got {options!r}.")
    if not isinstance(fields.get("rationale"), str | None):
        raise UserError(f"{named}: the field 'rationale' must be text or null.")
    try:
        return Record(
            id=fields["id"],
            dataset=fields["dataset"],
            split=fields["split"],
            kind=cast("Kind", fields["kind"] if answer is not None else "text"),
            question=fields["question"],
            options=None if options is None else tuple(options),
            answer=answer or "",
            rationale=fields.get("rationale"),
            meta=fields.get("meta") or {},
            generated={name: v for name, v in fields.items() if name not in _SOURCE_FIELDS},
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def to_dict(record: Record) -> dict[str, Any]:
    """Returns the JSON object of a record, generated fields beside the others."""
    fields = {name: getattr(record, name) for name in _SOURCE_FIELDS}
    fields["options"] = None if record.options is None else list(record.options)
    fields["meta"] = dict(record.meta)
    return {**fields, **record.generated}


def check_characters(fields: Mapping[str, Any], where: str) -> None:
    r"""Raises UserError where a text holds half of a surrogate pair.

    JSON can say it (`"\ud83d"`), but it is no character: no tokenizer takes it, no file holds it.
    """
    try:
        json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("unicode_escape").decode("ascii")
        raise UserError(
            f"{where}: the text holds {half}, half of a surrogate pair, which is no character; "
            "write the whole pair, or leave it out"
        ) from None


def read_json_lines(
    path: str | os.PathLike[str], *, any_text: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object) of a JSON Lines file, compressed or not.

    Blank lines and byte-order marks are passed over. A line that is not a JSON object, broken
    UTF-8 and a truncated compressed file are UserErrors that name file and line. So is half a
    surrogate pair, unless `any_text`: for whoever only looks at texts, or counts those that cannot
    be used.
    """
    for number, line, value in _parsed_lines(path):
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise UserError(f"{path}:{number}: expected a JSON object, got {kind}.")
        if not any_text and "\\u" in line:
            check_characters(value, f"{path}:{number}")
        yield number, value


def read_json_values(path: str | os.PathLike[str]) -> Iterator[tuple[int, Any]]:
    """Yields (line number from 1, value) of a file with a JSON value a line, compressed or not.

    Blank lines and byte-order marks are passed over. What is no JSON, broken UTF-8 and a truncated
    compressed file are UserErrors that name file and line.
    """
    for number, _, value in _parsed_lines(path):
        yield number, value


def _parsed_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, Any]]:
    number = 0
    try:
        for number, line in numbered_lines(Path(path)):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number}: {_not_json(error, line)}") from None
            yield number, line, value
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        # What decompression says has no number of the system's.
        damaged = isinstance(error, (EOFError, OSError)) and getattr(error, "errno", None) is None
        hint = " It is cut off or damaged: get it again." if damaged else ""
        raise UserError(f"{path}:{number + 1}: cannot be read ({error}).{hint}") from None


def _not_json(error: Exception, line: str) -> str:
    if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
        return "a whole number of more digits than Python reads; write it as text, in quotes."
    streamed = line.startswith("data:")
    hint = " This is a stream of events: ask with stream=False." if streamed else ""
    return f"not valid JSON ({error}).{hint}"


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yields the records of a JSON Lines file in the uniform form."""
    for number, fields in read_json_lines(path):
        yield from_dict(fields, where=f"{path}:{number}")


def write_records(path: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Writes records as JSON Lines (gzip if the name ends in .gz) and returns how many.

    The same records give the same bytes; the file appears under its name only when complete.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}{target.suffix}")
    count = 0
    try:
        with written_text(unfinished) as file:
            for record in records:
                file.write(json.dumps(to_dict(record), ensure_ascii=False) + "\n")
                count += 1
        unfinished.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({system_reason(error)}).") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


_SOURCE_FIELDS = (
    "id",
    "dataset",
    "split",
    "kind",
    "question",
    "options",
    "answer",
    "rationale",
    "meta",
)


def _problem(record: Record) -> str:
    """Returns what is wrong with a record, or an empty string."""
    if record.options is not None and len(record.options) > len(LETTERS):
        return f"{len(record.options)} options, but there are only {len(LETTERS)} letters."
    if record.kind == "choice":
        if not record.options:
            return "a choice needs options."
        letters = LETTERS[: len(record.options)]
        if len(record.answer) != 1 or record.answer not in letters:
            return f"the answer must be a letter from A to {letters[-1]}, got {record.answer!r}."
    if record.kind == "boolean" and record.answer not in ("yes", "no"):
        return f"the answer must be 'yes' or 'no', got {record.answer!r}."
    if record.kind == "numeric" and not _is_finite_number(record.answer):
        return f"the answer must be a finite number without commas, got {record.answer!r}."
    return ""


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
