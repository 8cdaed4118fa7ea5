"""The command that shows teacher caches."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from tlm_jax.errors import UserError, system_reason
from tlm_jax.runs.command_line.arguments import Parser


def inspect(argv: Sequence[str]) -> int:
    """Shows what a cache is and how its teacher saw texts: terminal, or one HTML page."""
    parser = Parser(
        "cache_teacher inspect",
        "Tell what a teacher cache holds, and draw texts as heat maps of the teacher's "
        "probabilities.",
        examples=(
            "cache_teacher inspect cache --rows=3",
            "cache_teacher inspect cache --html=heat.html",
        ),
    )
    parser.add_argument("directory", metavar="DIR", type=Path)
    parser.add_argument("--rows", type=int, default=1, metavar="N", help="texts to draw")
    parser.add_argument("--key", metavar="KEY", help="draw the row of this key")
    parser.add_argument("--example", metavar="ID", help="draw the rows of this example")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page instead")
    parser.add_argument("--width", type=int, metavar="COLUMNS", help="of the terminal")
    options = parser.parse(argv)
    if options.rows < 0:
        raise UserError(f"--rows must be 0 or more, got {options.rows}.")

    # After parsing, so that --help is quick.
    from tlm_jax.reports import heat_map_page as heat_map_html
    from tlm_jax.reports import heat_map_terminal
    from tlm_jax.reports.heat_map import heat_map
    from tlm_jax.system import terminal
    from tlm_jax.teacher_cache import TeacherCache

    cache = TeacherCache.open(options.directory, on_damage="skip")
    table, unembedding = _table(cache), cache.unembedding
    maps = [heat_map(row, table, unembedding) for row in _chosen(cache, options)]
    if options.html is not None:
        facts = _facts(cache)
        title = f"Teacher cache: {cache.header.teacher}"
        text = heat_map_html.document(maps, title, _identity(cache), facts)
        try:
            options.html.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {options.html}: {system_reason(error)}.") from error
        print(f"wrote {options.html}")
        return 0
    console = terminal.console(options.width, piped_width=120)
    console.print(f"{options.directory}: {_identity(cache)}", soft_wrap=True, markup=False)
    for label, figure, detail in _facts(cache):
        console.print(f"  {label}: {figure} ({detail})", soft_wrap=True, markup=False)
    heat_map_terminal.draw(maps, console)
    return 0


def _chosen(cache, options: argparse.Namespace) -> list:
    """Returns the rows that the options ask for."""
    if options.key is None and options.example is None:
        return list(itertools.islice(cache.rows(), options.rows))
    keys = (options.key,) if options.key is not None else cache.keys_of(options.example)
    rows = [row for row in cache.get_many(keys) if row is not None]
    if not rows:
        what = f"key {options.key}" if options.key is not None else f"example {options.example!r}"
        raise UserError(
            f"{options.directory}: no readable row of {what}; without --key and --example the "
            "first rows are shown."
        )
    return rows


def _table(cache):
    if cache.has_table:
        return cache.table
    print("no token table lies in the cache: tokens are shown as ids", file=sys.stderr)
    return None


def _identity(cache) -> str:
    header = cache.header
    settings = ", ".join(
        f"{name}={value}"
        for name, value in cache.encoding.settings().items()
        if name != "name" and value is not None
    )
    parts = [
        f"teacher {header.teacher}",
        f"vocabulary of {header.vocabulary_size:,}",
        f"{cache.encoding.name} ({settings})" if settings else cache.encoding.name,
        f"temperature {header.temperature:g}",
    ]
    if header.source_task:
        parts.append(f"scored for {header.source_task}")
    return " · ".join(parts)


def _facts(cache) -> list[tuple[str, object, str]]:
    entries = [shard.entry for shard in cache.shards]
    size = sum(entry.bytes for entry in entries)
    tokens = sum(entry.tokens for entry in entries)
    tally = {
        name: sum(entry.tally.get(name, 0) for entry in entries)
        for name in ("dropped_steps", "steps_with_fewer_candidates", "candidates")
    }
    facts: list[tuple[str, object, str]] = [
        (
            "Rows",
            f"{len(cache):,}",
            f"in {len(entries):,} shard" + ("s" if len(entries) != 1 else ""),
        ),
        ("Tokens", f"{tokens:,}", f"{tokens / max(len(cache), 1):.0f} a row"),
        ("Size", f"{size / 1e6:,.2f} MB", f"{size / max(tokens, 1):.1f} bytes a token"),
        ("Dropped steps", f"{tally['dropped_steps']:,}", "the teacher says nothing"),
    ]
    if tally["candidates"]:
        mean = tally["candidates"] / max(tokens - tally["dropped_steps"], 1)
        fewer = f"{tally['steps_with_fewer_candidates']:,} steps with fewer than the most"
        facts.append(("Candidates a step", f"{mean:.1f}", fewer))
    if cache.damaged:
        facts.append(("Damaged rows", f"{sum(cache.damaged.values()):,}", "left out"))
    return facts
