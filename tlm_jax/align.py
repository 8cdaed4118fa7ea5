"""Aligns tokens: `python -m tlm_jax.align FILE.jsonl[.gz]` checks recorded alignments against ours.

With `--text=FIELD --teacher=V --student=V` it tells how far two tokenizers agree on a file's texts.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line.arguments import Parser

if TYPE_CHECKING:
    from tlm_jax.alignment.recorded import Comparison, RecordedRow
    from tlm_jax.alignment.survey import Agreement

T = TypeVar("T")

_BATCH = 256
"""Rows aligned together."""


def main(argv: Sequence[str]) -> int:
    """Parses the command line, aligns, prints; returns 1 where anything recorded differs."""
    arguments = parser().parse(argv)
    if arguments.show < 0:
        raise UserError(f"--show must be 0 or more, got {arguments.show}.")
    if arguments.text is not None:
        if arguments.teacher is None or arguments.student is None:
            raise UserError("--text needs --teacher=V and --student=V, the two tokenizers.")
        _print_agreement(_survey(arguments), arguments)
        return 0
    if arguments.teacher is not None:
        raise UserError("--teacher is for texts; say which with --text=FIELD.")
    result = _check(arguments)
    _print_comparison(result, arguments)
    return 1 if result.differences else 0


def _check(arguments: argparse.Namespace) -> Comparison:
    from tlm_jax.alignment import dtw, offsets
    from tlm_jax.alignment.edit_costs import EditCosts
    from tlm_jax.alignment.recorded import Comparison, compare, read_row
    from tlm_jax.data.records import read_json_lines

    result, costs = Comparison(), EditCosts()
    is_piece = _known_pieces(arguments.student) if arguments.student else None
    rows = (
        read_row(fields, f"{arguments.file}:{number}")
        for number, fields in read_json_lines(arguments.file, any_text=True)
    )
    for batch in _batches(_with_progress(rows)):
        if arguments.method == "dtw":
            alignments = dtw.align_batch(
                [row.teacher_tokens for row in batch], [row.student_pieces for row in batch], costs
            )
        else:
            alignments = offsets.align_batch(*_as_bytes(batch))
        for row, alignment in zip(batch, alignments):
            compare(
                row,
                alignment,
                result,
                is_piece=is_piece,
                published_targets=arguments.method == "dtw",
            )
    if not result.rows:
        raise UserError(f"{arguments.file}: no rows to check.")
    return result


def _known_pieces(name: str) -> Callable[[str], bool]:
    """Returns whether a vocabulary has a piece, written with `▁`, special ids left out."""
    from tlm_jax.alignment.published import written_for_t5
    from tlm_jax.vocabularies import vocabulary_from_name
    from tlm_jax.vocabularies.token_bytes import token_table

    table = token_table(vocabulary_from_name(name))
    texts = (text for i, text in enumerate(table.texts) if i not in table.special)
    return {written_for_t5(text) for text in texts}.__contains__


def _as_bytes(rows: Sequence[RecordedRow]) -> tuple[list[list[bytes]], list[list[bytes]]]:
    def encoded(tokens: Iterable[str]) -> list[bytes]:
        return [token.encode("utf-8", "surrogatepass") for token in tokens]

    return (
        [encoded(row.teacher_tokens) for row in rows],
        [encoded(piece.replace("▁", " ") for piece in row.student_pieces) for row in rows],
    )


def _survey(arguments: argparse.Namespace) -> Agreement:
    from tlm_jax.alignment.survey import Survey
    from tlm_jax.data.records import read_json_lines
    from tlm_jax.evaluation.fields import values
    from tlm_jax.vocabularies import vocabulary_from_name

    survey = Survey(
        vocabulary_from_name(arguments.teacher),
        vocabulary_from_name(arguments.student),
        arguments.method,
    )

    def texts() -> Iterator[str]:
        for number, fields in read_json_lines(arguments.file):
            where = f"{arguments.file}:{number}"
            for _, text in values(fields, arguments.text, where):
                if not isinstance(text, str | None):
                    raise UserError(f"{where}: {arguments.text!r} is not text but {text!r}.")
                if text is not None:
                    yield text

    for batch in _batches(_with_progress(texts())):
        survey.add(batch)
    if not survey.agreement.texts:
        raise UserError(f"{arguments.file}: no text in {arguments.text!r}.")
    return survey.agreement


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _with_progress(items: Iterable[T]) -> Iterator[T]:
    """Passes items on and shows their count and rate on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("aligned"), TaskProgressColumn(show_speed=True)]
    columns.append(TextColumn("{task.completed:,.0f} rows"))
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield from progress.track(items, total=None)


def _print_comparison(result: Comparison, arguments: argparse.Namespace) -> None:
    for line in result.differences[: arguments.show]:
        print(line)
    hidden = len(result.differences) - min(arguments.show, len(result.differences))
    if hidden:
        print(f"... and {hidden:,} more differences (--show=N lists N)")
    counts = [
        f"{result.equal[kind]:,} of {total:,} {kind}"
        for kind, total in result.total.items()
        if total
    ]
    print(
        f"{result.rows:,} {'row' if result.rows == 1 else 'rows'} by {arguments.method}: "
        f"{', '.join(counts) or 'nothing recorded that this method gives'} as recorded"
    )
    if arguments.student is None and result.total["targets"]:
        print(
            "(which alternatives are pieces was taken from each row; --student=V takes it from "
            "the tokenizer)"
        )


def _print_agreement(agreement: Agreement, arguments: argparse.Namespace) -> None:
    coverage, noun = agreement.coverage, "text" if agreement.texts == 1 else "texts"
    print(
        f"{agreement.texts:,} {noun} by {arguments.method}: {coverage.tokens:,} student tokens, "
        f"{coverage.soft / coverage.tokens:.1%} soft, {coverage.hard / coverage.tokens:.1%} hard"
    )
    if agreement.hard and arguments.show:
        print("most frequent hard tokens: student piece, teacher tokens aligned to it")
        for (piece, tokens), count in agreement.hard.most_common(arguments.show):
            written = " ".join(map(repr, tokens)) or "none"
            print(f"  {count:>9,}  {piece!r}  {written}")


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "align",
        "Check recorded token alignments (gpt_tokens, t5_tokens, mapping_t5_to_gpt, total_cost, "
        "gpt_step_probs, t5_step_probs) against ours and print what differs; exits with 1 if "
        "anything does. With --text, --teacher and --student: how far two tokenizers agree on the "
        "texts of a file.",
        examples=(
            "align recorded.jsonl --student=flan-t5",
            "align gsm8k_test.jsonl.gz --text=rationale --teacher=smollm2 --student=flan-t5 "
            "--method=offsets",
        ),
    )
    add = result.add_argument
    add("file", metavar="FILE", help="JSON Lines, compressed or not")
    add(
        "--method",
        choices=["dtw", "offsets"],
        default="dtw",
        help="dtw: as published (default); offsets: by bytes, of which mappings are compared alone",
    )
    add("--student", metavar="V", help="tokenizer: a file, a model's directory, or asset:NAME")
    add("--teacher", metavar="V", help="tokenizer of the teacher, for --text")
    add("--text", metavar="FIELD", help="align the texts of this field; may be nested (meta.text)")
    add("--show", type=int, default=20, metavar="N", help="list up to N (default: 20)")
    return result


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
