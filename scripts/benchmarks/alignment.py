"""Times aligning a teacher's tokens with a student's and mapping its candidates, on one core.

Texts are those of a JSON Lines file, such as GSM8K's rationales, else solutions of the embedded
word problems. Candidates are random; their number alone decides the time. `dtw` is timed with
nothing known of the vocabularies, and again with the edit distances of the first time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from tlm_jax.alignment.mapping import Coverage, Method
from tlm_jax.alignment.rows import RowMapper
from tlm_jax.data import tasks
from tlm_jax.data.records import read_json_lines
from tlm_jax.errors import UserError
from tlm_jax.evaluation.fields import values
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name
from tlm_jax.vocabularies.token_bytes import TokenTable, token_table

EMBEDDED = "word_problems_cot_zero_shot"


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.pin:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        return _run(options)
    except UserError as error:
        print(f"error: {error}")
        return 1


def _run(options: argparse.Namespace) -> int:
    teacher, student = (vocabulary_from_name(v) for v in (options.teacher, options.student))
    texts = _texts(options)
    rows = [_row(ids, teacher, options.candidates) for ids in teacher.encode_batch(texts)]
    student_ids = [np.append(ids, np.int32(student.eos_id)) for ids in student.encode_batch(texts)]
    sizes = [statistics.mean(map(len, side)) for side in ([r.token_ids for r in rows], student_ids)]
    print(
        f"{len(texts):,} solutions of {sizes[0]:.0f} teacher and {sizes[1]:.0f} student tokens, "
        f"{options.candidates} candidates a step; one core, best and median of {options.repeats}"
    )
    tables = token_table(teacher), token_table(student)
    for method in ("offsets", "dtw"):
        _time_method(method, tables, rows, student_ids, options.repeats)
    return 0


def _time_method(
    method: Method,
    tables: tuple[TokenTable, TokenTable],
    rows: list[TeacherRow],
    student_ids: list[np.ndarray],
    repeats: int,
) -> None:
    anew, again, both = [], [], []
    coverage = Coverage()
    for _ in range(repeats):
        mapper = RowMapper(*tables, method=method)
        anew.append(_seconds(lambda m=mapper: m.align(rows, student_ids)))
        again.append(_seconds(lambda m=mapper: m.align(rows, student_ids)))
        both.append(_seconds(lambda m=mapper: m.map_rows(rows, student_ids)))
        results = mapper.map_rows(rows, student_ids)
        coverage = sum((result.coverage for result in results), Coverage())
    print(f"{method}: {coverage.soft / coverage.tokens:.1%} of student tokens soft")
    if method == "dtw":
        _say("align, first time", anew, len(rows))
    _say("align", again, len(rows))
    _say("align and map", both, len(rows))


def _texts(options: argparse.Namespace) -> list[str]:
    if options.texts:
        lines = itertools.islice(read_json_lines(options.texts), options.rows)
        return [
            text for number, row in lines for _, text in values(row, options.field, str(number))
        ]
    tasks.load_tasks()
    source = tasks.get_task(EMBEDDED).source
    return [str(source.example("train", i)["targets"]) for i in range(options.rows)]


def _row(ids: np.ndarray, teacher: Vocabulary, num_candidates: int) -> TeacherRow:
    ids = np.append(ids, np.int32(teacher.eos_id))
    rng = np.random.default_rng(len(ids))
    shape = len(ids), num_candidates
    candidates = rng.integers(0, teacher.size, shape).astype(np.int32)
    candidates[:, 0] = ids
    odds = np.sort(rng.dirichlet(np.full(num_candidates + 1, 0.3), len(ids)), axis=-1)[:, ::-1]
    logprobs = np.log(np.maximum(odds, 1e-12)).astype(np.float32)
    steps = StepDistributions(
        candidates, logprobs[:, :-1], logprobs[:, -1], np.ones(len(ids), np.float32)
    )
    return TeacherRow("", "", ids, steps)


def _seconds(work: Callable[[], object]) -> float:
    """Returns CPU time, which a busy machine distorts least."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _say(label: str, times: list[float], count: int) -> None:
    best, median = count / min(times), count / statistics.median(times)
    print(f"  {label:20}{best:>10,.0f} solutions/s of CPU time, median {median:,.0f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark alignment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--teacher", required=True, metavar="V", help="tokenizer (as for tlm_jax.inspect)")
    add("--student", required=True, metavar="V", help="tokenizer")
    add("--texts", metavar="FILE", help="JSON Lines, compressed or not")
    add("--field", default="rationale", help="its field; may be nested (default: rationale)")
    add("--rows", type=int, default=7473, help="solutions")
    add("--candidates", type=int, default=8, help="of each step")
    add("--repeats", type=int, default=3)
    add("--pin", action=argparse.BooleanOptionalAction, default=True, help="keep to one core")
    return parser
