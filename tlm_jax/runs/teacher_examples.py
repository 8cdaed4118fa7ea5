"""Writes the records of a cache's solutions, and says what is in them."""

from __future__ import annotations

from tlm_jax.data.teacher_imports.examples import ExampleFile


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
