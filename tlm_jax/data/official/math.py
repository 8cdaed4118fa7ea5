"""Records from the official files of the arithmetic data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tlm_jax.data.official.files import field, read_json, wrap
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.errors import UserError


def read_gsm8k(path: Path, split: str) -> Iterator[Record]:
    """Yields records of GSM8K's JSON Lines `{question, answer}`; the rationale keeps `<<...>>`."""
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        rationale, mark, answer = field(row, "answer", where).rpartition("\n#### ")
        if not mark:
            raise UserError(f"{where}: the answer has no line that starts with '#### '.")
        with wrap(where):
            yield Record(
                id=f"gsm8k-{split}-{number - 1}",
                dataset="gsm8k",
                split=split,
                kind="numeric",
                question=field(row, "question", where).strip(),
                options=None,
                answer=answer.strip().replace(",", ""),
                rationale=rationale.strip(),
                meta={"answer_raw": answer.strip()},
            )


def read_svamp(path: Path, split: str) -> Iterator[Record]:
    """Yields records of SVAMP.json, a list of `{ID, Body, Question, Equation, Answer, Type}`."""
    for i, row in enumerate(read_json(path, list)):
        where = f"{path}, item {i}"
        body, ask = (str(field(row, name, where)).strip() for name in ("Body", "Question"))
        with wrap(where):
            yield Record(
                id=str(field(row, "ID", where)),
                dataset="svamp",
                split=split,
                kind="numeric",
                question=f"{body}{'' if body.endswith(('.', '?', '!', ',')) else '.'} {ask}",
                options=None,
                answer=plain_number(field(row, "Answer", where)),
                meta={
                    "body": body,
                    "ask": ask,
                    "equation": row.get("Equation"),
                    "type": row.get("Type"),
                },
            )


def read_asdiv(path: Path, split: str) -> Iterator[Record]:
    """Yields records of ASDiv.xml; answers that are not one number with a unit are text."""
    try:
        problems = ElementTree.parse(path).getroot().iter("Problem")
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not valid XML ({error}).") from None
    for i, problem in enumerate(problems):
        where = f"{path}, problem {i}"
        texts = {child.tag: (child.text or "").strip() for child in problem}
        for name in ("Body", "Question", "Answer"):
            field(texts, name, where)
        number = without_unit(texts["Answer"])
        numeric = is_number(number)
        with wrap(where):
            yield Record(
                id=problem.get("ID", f"asdiv-{i}"),
                dataset="asdiv",
                split=split,
                kind="numeric" if numeric else "text",
                question=f"{texts['Body']} {texts['Question']}",
                options=None,
                answer=number if numeric else texts["Answer"],
                meta={
                    "answer_raw": texts["Answer"],
                    "formula": texts.get("Formula"),
                    "solution_type": texts.get("Solution-Type"),
                    "grade": problem.get("Grade"),
                    "numeric": numeric,
                },
            )


def read_multiarith(path: Path, split: str) -> Iterator[Record]:
    """Yields records of MultiArith.json, a list of `{iIndex, sQuestion, lSolutions, ...}`."""
    for i, row in enumerate(read_json(path, list)):
        where = f"{path}, item {i}"
        solutions = field(row, "lSolutions", where)
        if not isinstance(solutions, list) or len(solutions) != 1:
            raise UserError(f"{where}: expected one number in lSolutions, got {solutions!r}.")
        with wrap(where):
            yield Record(
                id=f"multiarith-{row.get('iIndex', i)}",
                dataset="multiarith",
                split=split,
                kind="numeric",
                question=" ".join(field(row, "sQuestion", where).split()),
                options=None,
                answer=plain_number(solutions[0]),
                meta={"equations": row.get("lEquations")},
            )


def read_math(path: Path, split: str) -> Iterator[Record]:
    """Yields records of MATH: a directory of JSON files by subject, or one JSON Lines file.

    A problem has `problem` (or `question`), `solution`, `level`, `type` (or `subject`); the answer
    is what stands in the solution's last box, unless the file gives `answer`.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        rows: Iterator[tuple[str, dict[str, Any]]] = ((str(f), read_json(f, dict)) for f in files)
    else:
        rows = ((f"{path}:{number}", row) for number, row in read_json_lines(path))
    for i, (where, row) in enumerate(rows):
        solution = field(row, "solution", where)
        answer = row.get("answer")
        with wrap(where):
            yield Record(
                id=str(row.get("id") or row.get("unique_id") or f"math-{split}-{i}"),
                dataset="math",
                split=split,
                kind="text",
                question=row["question"] if "question" in row else field(row, "problem", where),
                options=None,
                answer=last_boxed(solution) or "" if answer is None else str(answer),
                rationale=solution,
                meta={
                    "level": row.get("level"),
                    "subject": row.get("subject") or row.get("type"),
                },
            )


def last_boxed(solution: str) -> str | None:
    """Returns what stands in the last `\\boxed{...}` or `\\fbox{...}`, braces matched, or None."""
    starts = [m.end() for m in re.finditer(r"\\f?box(?:ed)?\s*\{", solution)]
    bare = re.findall(r"\\boxed\s+([^\s$.]+)", solution)
    if not starts:
        return bare[-1] if bare else None
    depth = 1
    for end in range(starts[-1], len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[end], 0)
        if depth == 0:
            return solution[starts[-1] : end]
    return None


def plain_number(value: object) -> str:
    """Returns a number as records write it: `39` for 39.0, no commas."""
    text = str(value).strip().replace(",", "")
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def without_unit(answer: str) -> str:
    """Returns an ASDiv answer without the one unit behind it: `9` for `9 (apples)`."""
    return re.sub(r"\s*\([^()]*\)\s*$", "", answer)


def is_number(text: str) -> bool:
    """Whether the whole text is a number that `float` reads."""
    return bool(re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text.strip(), re.IGNORECASE))
