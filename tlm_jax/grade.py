"""Grades a file: `python -m tlm_jax.grade FILE.jsonl[.gz] --prediction=FIELD --gold=FIELD`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tlm_jax.errors import UserError, system_reason
from tlm_jax.runs.command_line.arguments import Parser


def main(argv: Sequence[str]) -> int:
    """Parses the command line, grades, and prints accuracy and agreement."""
    arguments = parser().parse(argv)

    # After parsing, so that --help is quick.
    from tlm_jax.evaluation.file_grading import FieldNames, grade_file
    from tlm_jax.evaluation.grading_summary import as_json, print_summary
    from tlm_jax.evaluation.rules.registry import RULES, rule_by_name
    from tlm_jax.system import terminal

    if arguments.list_rules:
        for rule in RULES.values():
            print(f"{rule.name}: {rule.summary} [{rule.source}]")
            for fault in rule.faults:
                print(f"    fault: {fault}")
        return 0
    missing = [name for name in ("file", "prediction", "gold") if getattr(arguments, name) is None]
    if missing:
        raise UserError(
            f"missing: {', '.join(_WRITTEN[name] for name in missing)}. Try tlm grade --help."
        )
    if arguments.show < 0:
        raise UserError(f"--show must be 0 or more, got {arguments.show}.")
    rule = rule_by_name(arguments.rule)
    names = FieldNames(
        prediction=arguments.prediction,
        gold=arguments.gold,
        group=arguments.group,
        label=arguments.label,
        options=arguments.options,
        published=arguments.published,
    )
    grades = grade_file(arguments.file, rule, names)
    if arguments.json != "-":
        print_summary(grades, rule, terminal.console(), show=arguments.show)
    if arguments.json is not None:
        _write_json(arguments.json, {"file": arguments.file, **as_json(grades, rule)})
    return 0


_WRITTEN = {"file": "FILE", "prediction": "--prediction=FIELD", "gold": "--gold=FIELD"}


def _write_json(path: str, figures: dict[str, object]) -> None:
    text = json.dumps(figures, indent=1, allow_nan=False)
    if path == "-":
        print(text)
        return
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({system_reason(error)}).") from error


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "grade",
        "Grade the predictions in a JSON Lines file by a rule, and print accuracy by group and the "
        "agreement with a column of labels. Fields may be nested (meta.solution); lists on the way "
        "are gone through, one prediction for each element.",
        examples=(
            "grade samples/samples.jsonl --rule=numeric --prediction=text --gold=gold",
            "grade --list_rules",
        ),
    )
    result.add_argument("file", nargs="?", metavar="FILE", help="JSON Lines, compressed or not")
    result.add_argument(
        "--rule",
        default="numeric",
        metavar="NAME",
        help="numeric (default), choice, boolean, text, math, bbh_exact or an official_* rule",
    )
    result.add_argument("--prediction", metavar="FIELD", help="what the model wrote")
    result.add_argument("--gold", metavar="FIELD", help="the right answer")
    result.add_argument("--group", metavar="FIELD", help="accuracy for each value of it")
    result.add_argument("--label", metavar="FIELD", help="true or false: another verdict")
    result.add_argument("--options", metavar="FIELD", help="list of the options of a choice")
    result.add_argument(
        "--published",
        metavar="FIELD",
        help="a figure in per cent that each line gives for its group, printed beside ours",
    )
    result.add_argument(
        "--show",
        type=int,
        default=10,
        metavar="N",
        help="list up to N disagreements, unreadable gold answers, ... of a kind (default: 10)",
    )
    result.add_argument(
        "--json", metavar="FILE", help="write all figures and disagreements; - prints only them"
    )
    result.add_argument(
        "--list_rules", action="store_true", help="print every rule with its known faults"
    )
    return result


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
