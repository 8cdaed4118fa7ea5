"""Alignments that others recorded, read from JSON objects and compared with ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlm_jax.alignment import published
from tlm_jax.alignment.aligned import Alignment
from tlm_jax.errors import UserError, nearest

FIELDS = {
    "gpt_tokens": "list of texts",
    "t5_tokens": "list of texts",
    "mapping_t5_to_gpt": "list of [piece, list of texts]",
    "total_cost": "number",
    "gpt_step_probs": "list of lists of [text, number]",
    "t5_step_probs": "list of lists of [text, number]",
}
"""What an object may hold; the first two it must, and one of the others."""

_END = "</s>"


@dataclasses.dataclass(frozen=True)
class RecordedRow:
    """One text's recorded alignment.

    Attributes:
      where: file and line.
      teacher_tokens: what the teacher sampled.
      student_pieces: T5's pieces, without EOS.
      steps: the sampled token and the most probable ones with their probabilities, a list a
        teacher token; None where not recorded.
      mapping: for each piece its name and the teacher tokens aligned to it.
      cost: of the path.
      targets: for each piece what it is trained on.
    """

    where: str
    teacher_tokens: list[str]
    student_pieces: list[str]
    steps: list[list[tuple[str, float]]] | None
    mapping: list[tuple[str, list[str]]] | None
    cost: float | None
    targets: list[list[tuple[str, float]]] | None


@dataclasses.dataclass
class Comparison:
    """How many recorded values we give too, and what differs, in words."""

    rows: int = 0
    equal: dict[str, int] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(("mappings", "costs", "targets"), 0)
    )
    total: dict[str, int] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(("mappings", "costs", "targets"), 0)
    )
    differences: list[str] = dataclasses.field(default_factory=list)

    def count(self, kind: str, difference: str | None) -> None:
        """Counts one recorded value of a kind, which `difference` says not to be ours."""
        self.total[kind] += 1
        if difference is None:
            self.equal[kind] += 1
        else:
            self.differences.append(difference)


def read_row(fields: Mapping[str, Any], where: str) -> RecordedRow:
    """Returns what a JSON object records.

    The first and the last two of raw steps, which frame the solution in the published dumps, are
    left out where there are four more steps than tokens.

    Raises:
      UserError: a field is missing, is of another form, or has another length than the tokens.
    """
    values = {name: fields.get(name) for name in FIELDS}
    for name in ("gpt_tokens", "t5_tokens"):
        if values[name] is None:
            raise UserError(f"{where}: the field {name!r} is missing.{nearest(name, fields)}")
    if all(values[name] is None for name in ("mapping_t5_to_gpt", "total_cost", "t5_step_probs")):
        raise UserError(
            f"{where}: nothing to check; expected 'mapping_t5_to_gpt', 'total_cost' or "
            "'t5_step_probs' beside the tokens."
        )
    read: dict[str, Any] = {}
    for name, value in values.items():
        try:
            read[name] = None if value is None else _READERS[name](value)
        except (TypeError, ValueError):
            raise UserError(f"{where}: the field {name!r} must be a {FIELDS[name]}.") from None
    tokens, steps = read["gpt_tokens"], read["gpt_step_probs"]
    if steps is not None and len(steps) == len(tokens) + 4:
        steps = steps[2:-2]
    if steps is not None and len(steps) != len(tokens):
        raise UserError(
            f"{where}: {len(steps)} steps of probabilities for {len(tokens)} gpt_tokens; expected "
            "as many, or four more, which frame the solution."
        )
    if steps is None and read["t5_step_probs"] is not None:
        raise UserError(f"{where}: 't5_step_probs' cannot be checked without 'gpt_step_probs'.")
    return RecordedRow(
        where=where,
        teacher_tokens=tokens,
        student_pieces=read["t5_tokens"],
        steps=steps,
        mapping=read["mapping_t5_to_gpt"],
        cost=read["total_cost"],
        targets=read["t5_step_probs"],
    )


def compare(
    row: RecordedRow,
    alignment: Alignment,
    result: Comparison,
    *,
    is_piece: Callable[[str], bool] | None = None,
    published_targets: bool = True,
) -> None:
    """Adds to `result` what of a recorded row we give too, and what not.

    Args:
      row: what was recorded.
      alignment: ours of the same tokens.
      result: is added to.
      is_piece: whether the student's vocabulary has a piece. None: it has those that the row's
        own targets and pieces name, so that a piece that was wrongly left out everywhere is not
        noticed.
      published_targets: compare costs and targets too, which `dtw` alone gives.
    """
    result.rows += 1
    if row.mapping is not None:
        _compare_mapping(row, row.mapping, alignment, result)
    if published_targets and row.cost is not None:
        same = row.cost == alignment.cost
        result.count("costs", None if same else _differs(row, "cost", row.cost, alignment.cost))
    if published_targets and row.targets is not None and row.steps is not None:
        _compare_targets(row, row.targets, row.steps, alignment, result, is_piece)


def _compare_mapping(
    row: RecordedRow,
    mapping: Sequence[tuple[str, list[str]]],
    alignment: Alignment,
    result: Comparison,
) -> None:
    if len(mapping) != len(row.student_pieces):
        result.count("mappings", _miscounted(row, "mapping", len(mapping)))
        return
    for j, piece in enumerate(row.student_pieces):
        ours = (piece, [row.teacher_tokens[i] for i in alignment.steps_of(j)])
        place = f"mapping of piece {j}"
        same = ours == mapping[j]
        result.count("mappings", None if same else _differs(row, place, mapping[j], ours))


def _compare_targets(
    row: RecordedRow,
    targets: list[list[tuple[str, float]]],
    steps: list[list[tuple[str, float]]],
    alignment: Alignment,
    result: Comparison,
    is_piece: Callable[[str], bool] | None,
) -> None:
    if len(targets) == len(row.student_pieces) + 1 and targets[-1] == [(_END, 1.0)]:
        targets = targets[:-1]
    if len(targets) != len(row.student_pieces):
        result.count("targets", _miscounted(row, "targets", len(targets)))
        return
    if is_piece is None:
        named = {piece for target in targets for piece, _ in target}
        is_piece = named.union(row.student_pieces).__contains__
    ours = published.targets(row.teacher_tokens, row.student_pieces, steps, alignment, is_piece)
    for j, (recorded, target) in enumerate(zip(targets, ours)):
        found = list(target.items())
        place = f"target of piece {j} {row.student_pieces[j]!r}"
        same = found == recorded
        result.count("targets", None if same else _differs(row, place, recorded, found))


def _differs(row: RecordedRow, place: str, recorded: object, ours: object) -> str:
    return f"{row.where}: {place}: recorded {recorded!r}, ours {ours!r}"


def _miscounted(row: RecordedRow, what: str, count: int) -> str:
    return f"{row.where}: {what} of {count} pieces, but t5_tokens has {len(row.student_pieces)}"


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _mapping(value: Any) -> list[tuple[str, list[str]]]:
    pairs = [(piece, _texts(tokens)) for piece, tokens in value]
    _texts([piece for piece, _ in pairs])
    return pairs


def _steps(value: Any) -> list[list[tuple[str, float]]]:
    """Reads lists of pairs, or objects from text to number."""
    steps = [
        [(text, _number(p)) for text, p in (step.items() if isinstance(step, dict) else step)]
        for step in value
    ]
    for step in steps:
        _texts([text for text, _ in step])
    return steps


_READERS: dict[str, Callable[[Any], Any]] = {
    "gpt_tokens": _texts,
    "t5_tokens": _texts,
    "mapping_t5_to_gpt": _mapping,
    "total_cost": _number,
    "gpt_step_probs": _steps,
    "t5_step_probs": _steps,
}
