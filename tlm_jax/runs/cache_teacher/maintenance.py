"""The commands that check and join teacher caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tlm_jax.runs.command_line.arguments import Parser

_LONG_BYTES = 200_000_000


def verify(argv: Sequence[str]) -> int:
    """Reads all of a cache and tells what is damaged; exits with 1 if anything is."""
    parser = Parser(
        "cache_teacher verify",
        "Check every checksum and decode every row of teacher caches.",
        examples=("cache_teacher verify cache",),
    )
    parser.add_argument("directories", nargs="+", metavar="DIR", type=Path)
    options = parser.parse(argv)

    # After parsing, so that --help is quick.
    from tlm_jax.metrics.byte_progress import ByteProgress
    from tlm_jax.teacher_cache import verify as verification

    whole = True
    for directory in options.directories:
        with ByteProgress() as progress:
            found = verification.verify(directory, read=_if_long(progress.update))
        _print_verification(directory, found)
        whole = whole and found.whole
    return 0 if whole else 1


def merge(argv: Sequence[str]) -> int:
    """Makes one cache of several of the same teacher and encoding."""
    parser = Parser(
        "cache_teacher merge",
        "Put the rows of several caches of one teacher, tokenizer and encoding into a new "
        "directory, and the records of their examples.jsonl. Shards are linked where the file "
        "system can, else copied.",
        examples=("cache_teacher merge all cache_of_a cache_of_b",),
    )
    parser.add_argument("destination", metavar="DST", type=Path, help="a directory to make")
    parser.add_argument("sources", nargs="+", metavar="SRC", type=Path)
    options = parser.parse(argv)

    from tlm_jax.metrics.byte_progress import ByteProgress
    from tlm_jax.runs.cache_teacher.examples import merge_examples
    from tlm_jax.teacher_cache import merge as merging

    with ByteProgress() as progress:
        cache = merging.merge(
            options.destination, options.sources, written=_if_long(progress.update)
        )
    print(
        f"wrote {options.destination}: {len(cache):,} rows, {cache.num_tokens:,} tokens in "
        f"{len(cache.shards)} shards; {cache.duplicates:,} rows stood in several and count once"
    )
    merge_examples(options.destination, options.sources)
    return 0


def _if_long(update: Callable[[int, int], None]) -> Callable[[int, int], None]:
    return lambda done, total: update(done, total) if total > _LONG_BYTES else None


def _print_verification(directory: Path, found) -> None:
    cache = found.cache
    size = sum(shard.entry.bytes for shard in cache.shards)
    tokens = sum(shard.tokens for shard in found.shards)
    plural = "" if len(found.shards) == 1 else "s"
    print(
        f"{directory}: {len(cache):,} rows, {tokens:,} tokens in {len(found.shards):,} "
        f"shard{plural}, {size:,} bytes ({size / max(tokens, 1):.1f} a token); "
        f"{cache.duplicates:,} rows twice with equal content"
    )
    for shard in found.shards:
        for problem in shard.problems:
            print(f"  {shard.name}: {problem}")
    for problem in found.problems:
        print(f"  {problem}")
    if found.whole:
        print("  every checksum is right and every row can be decoded")
        return
    readable = sum(shard.readable for shard in found.shards)
    rows = sum(shard.rows for shard in found.shards)
    print(f"  damaged: {readable:,} of {rows:,} rows can be read")
    damaged = [shard.name for shard in found.shards if shard.problems]
    if damaged:
        parts = sorted({name.replace("shard", "part")[:10] + ".json" for name in damaged})
        print(
            f"  to fill it again, delete {', '.join([*damaged[:4], *parts])}"
            f"{' and the other damaged shards' if len(damaged) > 4 else ''}, and run the command "
            "that wrote them: it takes up what is left"
        )
