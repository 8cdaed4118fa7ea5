"""Records from the official files of collections: AQuA, BIG-Bench Hard, FLAN, TeacherLM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tlm_jax.data.official.files import field, files_of, letter_of, read_json, read_text, wrap
from tlm_jax.data.official.math import is_number
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.errors import UserError


def read_aqua(path: Path, split: str) -> Iterator[Record]:
    """Yields records of AQuA's JSON lines `{question, options, rationale, correct}`."""
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        options = field(row, "options", where)
        with wrap(where):
            yield Record(
                id=f"aqua-{split}-{number - 1}",
                dataset="aqua",
                split=split,
                kind="choice",
                question=field(row, "question", where),
                options=tuple(re.sub(r"^\s*\(?[A-Z]\s*\)\s*", "", option) for option in options),
                answer=field(row, "correct", where),
                rationale=row.get("rationale") or None,
            )


def read_bbh(path: Path, split: str) -> Iterator[Record]:
    """Yields records of BIG-Bench Hard: its `bbh` folder, or one task file of it.

    Targets stay as they are, so the kind is text; the canary goes along with every record.
    """
    for file in files_of(path, "*.json"):
        task = read_json(file, dict)
        for i, row in enumerate(field(task, "examples", str(file))):
            where = f"{file}, example {i}"
            with wrap(where):
                yield Record(
                    id=f"bbh-{file.stem}-{i}",
                    dataset="bbh",
                    split=split,
                    kind="text",
                    question=field(row, "input", where),
                    options=None,
                    answer=field(row, "target", where),
                    meta={"task": file.stem, "canary": task.get("canary")},
                )


def read_bbh_prompts(path: Path) -> dict[str, str]:
    """Returns the chain-of-thought prompt of each BIG-Bench Hard task, without the canary.

    `path` is the `cot-prompts` folder, or the uniform file of all prompts.
    """
    if path.is_dir():
        texts = {file.stem: read_text(file) for file in sorted(path.glob("*.txt"))}
    else:
        texts = {
            field(row, "task", f"{path}:{number}"): field(row, "text", f"{path}:{number}")
            for number, row in read_json_lines(path)
        }
    prompts = {}
    for task, text in texts.items():
        canary, mark, prompt = text.partition("\n-----\n")
        if not mark or "canary" not in canary:
            raise UserError(f"{path}: the prompt of {task!r} does not begin with the canary line.")
        prompts[task] = prompt.strip("\n")
    return prompts


_ARROW_FIELDS = ("id", "question", "answer", "analysis")

FlanKind = Literal["numeric", "choice", "boolean"]


def read_flan(path: Path, name: str, kind: FlanKind) -> Iterator[Record]:
    """Yields records of FLAN's `flan/v2/cot_data/{name}_train.tsv`: question, answer, rationale.

    A cell writes a line break as a backslash and an n. Options stand below the question as
    `(A) text`, `- (A) text` or `- text`. Of a choice without letters the answer is the option's
    text; of sense making it is `Sentence A`.
    """
    lines = read_text(path).split("\n")
    for i, line in enumerate(lines):
        if not line:
            continue
        where = f"{path}:{i + 1}"
        cells = [cell.replace("\\n", "\n") for cell in line.split("\t")]
        if len(cells) != 3:
            raise UserError(f"{where}: expected 3 cells divided by tabs, got {len(cells)}.")
        full_question, answer, rationale = cells
        question, options = split_options(full_question)
        with wrap(where):
            yield Record(
                id=f"flan-{name}-{i}",
                dataset=f"flan_cot_{name}",
                split="train",
                kind=kind,
                question=question,
                options=options,
                answer=_flan_answer(answer.strip(), kind, options, where),
                rationale=rationale.strip() or None,
                meta={"flan_question": full_question, "flan_answer": answer},
            )


def split_options(text: str) -> tuple[str, tuple[str, ...] | None]:
    """Returns question and options of a text whose last block is `Options:` and its lines."""
    question, mark, block = text.partition("\nOptions:\n")
    if not mark:
        return text, None
    lines = [line.strip() for line in block.strip("\n").split("\n") if line.strip()]
    return question, tuple(re.sub(r"^(-\s*)?(\([A-Z]\)\s*)?", "", line) for line in lines)


def read_arrow(path: Path, split: str, name: str) -> Iterator[Record]:
    """Yields records of TeacherLM's evaluation sets, saved Hugging Face `datasets` folders.

    The folder's `*.arrow` files are in Arrow's stream format. Rows have `question`, with options
    inline as `(A) x (B) y`, and `answer`, a letter or a truth value.
    """
    try:
        import pyarrow.ipc
    except ImportError:
        raise UserError(f"{path}: reading Arrow files needs the package pyarrow.") from None
    number = 0
    for file in files_of(path, "**/*.arrow"):
        with pyarrow.memory_map(str(file)) as source:
            table = pyarrow.ipc.open_stream(source).read_all()
        for row in table.to_pylist():
            where = f"{file}, row {number}"
            with wrap(where):
                yield _arrow_record(row, name, split, number, where)
            number += 1


def _arrow_record(row: dict[str, Any], name: str, split: str, number: int, where: str) -> Record:
    full_question = field(row, "question", where)
    # ECQA's questions begin with 'Q: ' already, which would double it in every prompt.
    stem, *texts = re.split(r"\s*\(([A-Z])\)\s*", full_question.removeprefix("Q: "))
    options = tuple(texts[1::2]) or ("True", "False")
    answer = field(row, "answer", where)
    if isinstance(answer, bool):
        answer = "A" if answer else "B"
    answer = str(answer).strip().strip("().").upper()
    name_of_row = next((row[key] for key in ("id", "q_no", "qid", "ex_id") if row.get(key)), None)
    return Record(
        id=str(name_of_row or f"{name}-{split}-{number}"),
        dataset=name,
        split=split,
        kind="choice",
        question=stem.strip(),
        options=options,
        answer={"TRUE": "A", "FALSE": "B"}.get(answer, answer),
        rationale=row.get("analysis") or row.get("explanation") or None,
        meta={
            "eval_question": full_question,
            **{k: v for k, v in row.items() if k not in _ARROW_FIELDS},
        },
    )


def _flan_answer(answer: str, kind: FlanKind, options: tuple[str, ...] | None, where: str) -> str:
    if kind == "numeric":
        number = answer.replace(",", "")
        if not is_number(number):
            raise UserError(f"{where}: expected a number as the answer, got {answer!r}.")
        return number
    if kind == "boolean":
        return answer.lower()
    letter = re.fullmatch(r"\(([A-Z])\)|Sentence ([A-Z])", answer)
    if letter:
        return letter.group(1) or letter.group(2)
    return letter_of(answer, options, where)
