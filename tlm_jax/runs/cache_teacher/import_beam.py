"""An import as an Apache Beam pipeline, for captures that outgrow a machine.

Each file is read by one worker. Solutions are brought together by their keys, which leaves out
repetitions wherever they stand, and are written by as many writers as there are parts, each one
host of the cache. Workers need the files and the cache's directory on a file system they share.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import Record
from tlm_jax.data.teacher_imports.captured import Captured, Piece, TokenSteps, Unusable
from tlm_jax.data.teacher_imports.distributions import pieces_in
from tlm_jax.data.teacher_imports.examples import ExampleFile
from tlm_jax.errors import UserError
from tlm_jax.runs.cache_teacher.examples import write_examples
from tlm_jax.runs.cache_teacher.import_config import ImportConfig
from tlm_jax.runs.cache_teacher.import_counts import LeftOut
from tlm_jax.runs.cache_teacher.importing import (
    example_of,
    key_of,
    open_writer,
    row_of,
    seen_tokens,
    usable,
)

Keyed = tuple[str, Captured]


def run_on_beam(config: ImportConfig, *, runner: str, parts: int, options: Sequence[str]) -> None:
    """Fills the cache.

    Args:
      config: the import; `num_candidates` must be set, as no worker sees all steps.
      runner: of Beam, such as "DirectRunner".
      parts: how many writers there are.
      options: further flags of Beam's, such as --project=...

    Raises:
      UserError: Beam is not installed, or the import cannot be run so.
    """
    if config.num_candidates is None:
        raise UserError("--runner needs --num_candidates: no worker sees the steps of all others")
    if parts < 1:
        raise UserError(f"--parts is {parts}, expected at least 1")
    try:
        beam: Any = importlib.import_module("apache_beam")
        pipeline_options = importlib.import_module("apache_beam.options.pipeline_options")
    except ImportError:
        raise UserError(
            "--runner needs Apache Beam: install the extra `beam` (pip install 'tlm_jax[beam]')"
        ) from None
    counted: Any = importlib.import_module("apache_beam.metrics").Metrics.counter
    config.output_dir.mkdir(parents=True, exist_ok=True)

    def read(path: str) -> Iterator[Keyed]:
        left_out = LeftOut()
        yield from _read(path, config, left_out)
        for reason, n in left_out.counts.items():
            counted("import", reason).inc(n)

    def write(part: tuple[int, Iterable[Keyed]], pieces: Iterable[Piece]) -> Iterator[Record]:
        counts: Counter[str] = Counter()
        yield from _write(part, set(pieces), config, parts, counts)
        for reason, n in counts.items():
            counted("import", reason).inc(n)

    flags = pipeline_options.PipelineOptions([f"--runner={runner}", *options])
    pipeline = beam.Pipeline(options=flags)
    solutions = (
        pipeline
        | "files" >> beam.Create([str(path) for path in config.files])
        | "apart" >> beam.Reshuffle()
        | "read" >> beam.FlatMap(read)
        | "by key" >> beam.GroupByKey()
        | "once" >> beam.MapTuple(_first)
    )
    pieces = solutions | "pieces" >> beam.FlatMap(_pieces) | "distinct" >> beam.Distinct()
    _ = (
        solutions
        | "to parts" >> beam.Map(lambda keyed: (int(keyed[0][:8], 16) % parts, keyed))
        | "by part" >> beam.GroupByKey()
        | "write" >> beam.FlatMap(write, beam.pvalue.AsIter(pieces))
        | "to one" >> beam.Map(lambda record: (0, record))
        | "records" >> beam.GroupByKey()
        | "examples" >> beam.MapTuple(lambda _, records: _write_examples(records, config))
    )
    result = pipeline.run()
    result.wait_until_finish()
    _print_counts(result, config)


def _read(path: str, config: ImportConfig, left_out: LeftOut) -> Iterator[Keyed]:
    one = ImportConfig(**{**vars(config), "files": (Path(path),)})
    for captured in usable(one, left_out):
        yield key_of(captured), captured


def _first(key: str, repeated: Iterable[Captured]) -> Keyed:
    """Returns the same one of several solutions with one key in whatever order they come."""
    return key, min(repeated, key=lambda captured: (captured.place, captured.id))


def _pieces(keyed: Keyed) -> Iterable[Piece]:
    steps = keyed[1].steps
    return () if steps is None or isinstance(steps, TokenSteps) else pieces_in(steps)


def _write(
    part: tuple[int, Iterable[Keyed]],
    pieces: set[Piece],
    config: ImportConfig,
    parts: int,
    counts: Counter[str],
) -> Iterator[Record]:
    number, solutions = part
    vocabulary, width = seen_tokens(config, pieces), config.num_candidates
    assert width is not None
    with open_writer(config, vocabulary, width, host=number, num_hosts=parts) as writer:
        for key, captured in sorted(solutions, key=lambda keyed: keyed[0]):
            try:
                row = row_of(captured, vocabulary, width, config)
                example = example_of(captured, config)
            except Unusable as reason:
                counts[str(reason)] += 1
                continue
            counts["there already" if writer.have(key) else "kept"] += 1
            if not writer.have(key):
                writer.write(row)
            yield example


def _write_examples(records: Iterable[Record], config: ImportConfig) -> None:
    examples = ExampleFile(config.output_dir)
    for record in sorted(records, key=lambda record: record.id):
        examples.add(record)
    write_examples(examples)


def _print_counts(result: Any, config: ImportConfig) -> None:
    for counter in sorted(
        result.metrics().query()["counters"], key=lambda counter: -counter.committed
    ):
        if counter.key.metric.namespace == "import":
            print(f"{counter.committed:9,} {counter.key.metric.name}")
    print(f"cache     {config.output_dir}", flush=True)
