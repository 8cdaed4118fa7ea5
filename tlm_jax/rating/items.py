"""The items of a file that are rated, and the order in which a rater sees them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tlm_jax.data.records import LETTERS, read_json_lines
from tlm_jax.errors import UserError, nearest
from tlm_jax.rating.scales import GRADES, VERDICT, Scale

CORRECTIONS = "corrections"
"""The source of LEMA's corrections, whose rows name none."""

_TEXTS = ("text", "explanation", "rationale")
_STEPS = ("path", "correct_solution")


class Part(NamedTuple):
    """A text with its heading."""

    heading: str
    text: str


@dataclasses.dataclass(frozen=True)
class Fields:
    """The names of the fields; several texts, with commas between, are shown below each other."""

    source: str = "source"
    question: str = "question"
    text: str | None = None


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing to rate.

    Attributes:
      id: of its question; unique within a source.
      source: who wrote it; no rater learns of it.
      given: what a rater has to know: question, options, answer, a wrong solution.
      rated: what is rated.
    """

    id: str
    source: str
    given: tuple[Part, ...]
    rated: tuple[Part, ...]

    @functools.cached_property
    def key(self) -> str:
        """A name that tells nothing of the source; another text has another one."""
        content = json.dumps([self.id, self.source, self.given, self.rated])
        return hashlib.sha256(content.encode()).hexdigest()[:20]


@dataclasses.dataclass(frozen=True)
class Sheet:
    """All items of a file.

    Attributes:
      path: of the file.
      items: in its order.
      scale: by which they are rated.
      already_rated: rows whose `rating` is filled in; the page does not show it.
    """

    path: Path
    items: tuple[Item, ...]
    scale: Scale
    already_rated: int = 0

    @property
    def sources(self) -> list[str]:
        """The sources, in the order of the file."""
        return list(dict.fromkeys(item.source for item in self.items))

    def beside(self, ending: str) -> Path:
        """Returns the path of a file of ours beside this one."""
        name = self.path.name.removesuffix(".gz").removesuffix(".jsonl")
        return self.path.with_name(f"{name}.{ending}")

    def order_for(self, rater: str) -> list[Item]:
        """Returns the items as one rater sees them.

        Questions are shuffled; what different sources say of one follows each other, shuffled, too.
        Each rater has an order of his own, and always the same.
        """
        shuffle = random.Random(hashlib.sha256(rater.encode()).digest()).shuffle
        questions: dict[str, list[Item]] = {}
        for item in self.items:
            questions.setdefault(item.id, []).append(item)
        groups = list(questions.values())
        shuffle(groups)
        for group in groups:
            shuffle(group)
        return [item for group in groups for item in group]


def read_sheet(path: Path, fields: Fields, scale: Scale | None = None) -> Sheet:
    """Returns what a file holds to be rated.

    Each row is an explanation, with `id`, `source`, `question` and `text`, or a correction as LEMA
    writes it, with `path`, `incorrect_step`, `explanation` and `correct_solution`. `options` and
    `answer` are shown where they are there.

    Args:
      path: JSON Lines, compressed or not.
      fields: what the fields are called.
      scale: None takes excellent, good or poor where all rows are corrections, else grades.

    Raises:
      UserError: a row lacks something, or two have the same id and source.
    """
    items: list[Item] = []
    lines: dict[tuple[str, str], int] = {}
    already_rated, only_corrections = 0, True
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        corrected = fields.text is None and all(isinstance(row.get(n), list) for n in _STEPS)
        only_corrections &= corrected
        item = _item(row, fields, corrected, where)
        before = lines.setdefault((item.id, item.source), number)
        if before != number:
            raise UserError(
                f"{where}: line {before} has the same id {item.id!r} and source {item.source!r}; "
                "expected one row for each: give them different ids, or leave one out"
            )
        items.append(item)
        already_rated += row.get("rating") is not None
    if not items:
        raise UserError(f"{path} holds no rows: nothing is there to be rated")
    chosen = scale or (VERDICT if only_corrections else GRADES)
    return Sheet(path, tuple(items), chosen, already_rated)


def _item(row: Mapping[str, Any], fields: Fields, corrected: bool, where: str) -> Item:
    source = row.get(fields.source)
    if source is None and corrected and fields.source == "source":
        source = CORRECTIONS
    if source is None:
        raise UserError(
            f"{where} has no {fields.source!r}, which says who wrote the text"
            f"{_hint(fields.source, row)}; add it to each row, or name the field that says it: "
            "--source=FIELD"
        )
    given = [Part("Question", _text(row, fields.question, where, "--question=FIELD"))]
    if options := row.get("options"):
        if not isinstance(options, list) or len(options) > len(LETTERS):
            raise UserError(f"{where}: 'options' is no list of at most {len(LETTERS)} texts")
        given.append(Part("Options", "\n".join(f"({a}) {b}" for a, b in zip(LETTERS, options))))
    if (answer := row.get("answer")) not in (None, ""):
        given.append(Part("Right answer", str(answer)))
    if corrected:
        given.append(Part("Wrong solution", _steps(row["path"], 1)))
        rated = _correction(row)
    else:
        rated = _explanation(row, fields.text, where)
    name = row.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise UserError(f"{where} has no 'id' that is a text or a whole number; give each row one")
    return Item(str(name), str(source), tuple(given), tuple(rated))


def _explanation(row: Mapping[str, Any], text: str | None, where: str) -> list[Part]:
    if text is None:
        text = next((name for name in _TEXTS if row.get(name) is not None), _TEXTS[0])
        return [Part("Explanation", _text(row, text, where, "--text=FIELD"))]
    names = text.split(",")
    headings = ["Explanation"] if len(names) == 1 else names
    return [Part(h, _text(row, n, where, "--text=FIELD")) for h, n in zip(headings, names)]


def _correction(row: Mapping[str, Any]) -> list[Part]:
    step = row.get("incorrect_step")
    parts = [] if step is None else [Part("Incorrect step", f"Step {step}")]
    if row.get("explanation") is not None:
        parts.append(Part("Explanation", str(row["explanation"])))
    first = step if isinstance(step, int) else 1
    return [*parts, Part("Correct solution", _steps(row["correct_solution"], first))]


def _steps(steps: Iterable[Any], first: int) -> str:
    return "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, start=first))


def _text(row: Mapping[str, Any], name: str, where: str, flag: str) -> str:
    """Returns a text of a row; an empty one is something to be rated, too.

    Raises:
      UserError: it is not there, or no text.
    """
    value = row.get(name)
    if value is None:
        raise UserError(f"{where} has no {name!r}{_hint(name, row)}; name the field with {flag}")
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, expected a text")
    return value


def _hint(name: str, row: Mapping[str, Any]) -> str:
    found = nearest(name, set(row) - {name})
    return f" ({found.strip()})" if found else ""
