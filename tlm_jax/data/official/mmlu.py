"""Records from MMLU's official files, a CSV without header for each subject."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tlm_jax.data.official.files import field, files_of, read_text, wrap
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.errors import UserError

_OPTIONS = 4


def read_mmlu(path: Path, split: str) -> Iterator[Record]:
    """Yields records of `{subject}_{split}.csv`: question, four options, letter.

    Args:
      path: the folder of the split, such as `data/test`, or one file of it.
      split: 'dev', 'val' or 'test', as the files' names end.
    """
    for file in files_of(path, f"*_{split}.csv"):
        subject = file.name.removesuffix(".gz").removesuffix(".csv").removesuffix(f"_{split}")
        rows = csv.reader(io.StringIO(read_text(file), newline=""))
        for number, row in enumerate(rows):
            where = f"{file}:{rows.line_num}"
            if len(row) != _OPTIONS + 2:
                raise UserError(
                    f"{where}: expected question, {_OPTIONS} options and a letter, got {len(row)} "
                    "cells."
                )
            question, *options, answer = (cell.strip() for cell in row)
            with wrap(where):
                yield Record(
                    id=f"mmlu-{subject}-{split}-{number}",
                    dataset="mmlu",
                    split=split,
                    kind="choice",
                    question=question,
                    options=tuple(options),
                    answer=answer.upper(),
                    meta={"subject": subject},
                )


def read_mmlu_prompts(path: Path) -> dict[str, str]:
    """Returns the five-shot chain-of-thought prompt of each subject, from the uniform file."""
    prompts = {}
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        prompts[field(row, "subject", where)] = field(row, "text", where).strip()
    return prompts
