"""Grades a file: `python -m tlm_jax.grade FILE.jsonl[.gz] --prediction=FIELD --gold=FIELD`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tlm_jax.errors import UserError, nearest, system_reason


def main(argv: Sequence[str]) -> int:
    """Parses the command line, grades, and prints accuracy and agreement."""
    arguments, unknown = _parser().parse_known_args(list(argv))
    if unknown:
        flags = [flag for action in _parser()._actions for flag in action.option_strings]
        hint = nearest(unknown[0].partition("=")[0], flags)
        raise UserError(f"unknown argument {unknown[0]!r}.{hint} Try --help.")

    # After parsing, so that --help is quick.
    from rich.console import Console

    from tlm_jax.evaluation.file_grading import FieldNames, grade_file
    from tlm_jax.evaluation.grading_summary import as_json, print_summary
    from tlm_jax.evaluation.rules.registry import RULES, rule_by_name

    if arguments.list_rules:
        for rule in RULES.values():
            print(f"{rule.name}: {rule.summary} [{rule.source}]")
            for fault in rule.faults:
                print(f"    fault: {fault}")
        return 0
    missing = [name for name in ("file", "prediction", "gold") if getattr(arguments, name) is None]
    if missing:
        raise UserError(f"missing: {', '.join(_WRITTEN[name] for name in missing)}. Try --help.")
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
        # A pipe has no width, and names must not be cut.
        width = None if sys.stdout.isatty() else 160
        print_summary(grades, rule, Console(width=width, highlight=False), show=arguments.show)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tlm_jax.grade",
        description="Grades the predictions in a JSON Lines file by a rule, and prints accuracy by "
        "group and the agreement with a column of labels. Fields may be nested (meta.solution); "
        "lists on the way are gone through, one prediction for each element.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="JSON Lines, compressed or not",
    )
    parser.add_argument(
        "--rule",
        default="numeric",
        metavar="NAME",
        help="numeric (default), choice, boolean, text, math, bbh_exact or an official_* rule",
    )
    parser.add_argument("--prediction", metavar="FIELD", help="what the model wrote")
    parser.add_argument("--gold", metavar="FIELD", help="the right answer")
    parser.add_argument("--group", metavar="FIELD", help="accuracy for each value of it")
    parser.add_argument("--label", metavar="FIELD", help="true or false: another verdict")
    parser.add_argument("--options", metavar="FIELD", help="list of the options of a choice")
    parser.add_argument(
        "--published",
        metavar="FIELD",
        help="a figure in per cent that each line gives for its group, printed beside ours",
    )
    parser.add_argument(
        "--show",
        type=int,
        default=10,
        metavar="N",
        help="list up to N disagreements, unreadable gold answers, ... of a kind (default: 10)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all figures and disagreements; - prints only them"
    )
    parser.add_argument(
        "--list_rules", action="store_true", help="print every rule with its known faults"
    )
    return parser


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
