"""Writes the records of a cache's solutions, and says what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlm_jax.data.teacher_imports.examples import ExampleFile
from tlm_jax.errors import UserError


def write_examples(examples: ExampleFile) -> None:
    """Writes the file and prints what it holds; nothing where there are no records."""
    examples.write()
    if not len(examples):
        return
    print(f"examples  {examples.path}, {len(examples):,} records, {examples.num_new:,} new")
    if examples.num_with_targets:
        print(
            f"note: {examples.num_with_targets:,} solutions are not what the formats write of "
            "their records (another wording of the answer, say); their field 'targets' holds them"
        )


def merge_examples(destination: Path, sources: Sequence[Path]) -> None:
    """Writes the records of several caches beside the rows of a merged one.

    Where they do not fit into one file, a note says why: the rows do without it.
    """
    examples = ExampleFile(destination)
    try:
        for source in sources:
            examples.add_all(ExampleFile(source))
    except UserError as error:
        print(f"note: the sources' examples.jsonl are not merged, train on each of them: {error}")
        return
    write_examples(examples)
