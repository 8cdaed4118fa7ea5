"""`python -m tlm_jax.report MODEL_DIR...` writes a page on a run, or on several side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line.arguments import Parser


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "report",
        "Write MODEL_DIR/report.html: curves, evaluations with intervals, sample predictions and "
        "the configuration of a run. Works while the run is going on, too. Of several runs it "
        "prints how each did on the tasks that all were evaluated on, and writes comparison.html "
        "beside the last.",
        examples=("report runs/a", "report runs/a runs/b --names=alone,distilled"),
    )
    result.add_argument("model_dirs", metavar="MODEL_DIR", nargs="+", help="the directory of a run")
    result.add_argument("--names", metavar="A,B,...", help="what the runs are called")
    result.add_argument(
        "--show",
        type=int,
        default=0,
        metavar="N",
        help="of several runs: print N questions that the last solves and the first does not",
    )
    result.add_argument("--output", metavar="FILE", help="where to write the page instead")
    return result


def main(argv: Sequence[str]) -> int:
    """Parses the command line, writes the page, and prints where it is."""
    arguments = parser().parse(argv)

    # After parsing, so that --help is quick.
    if len(arguments.model_dirs) > 1:
        return _compare(arguments)
    from tlm_jax.reports.run_page import write_report

    print(write_report(arguments.model_dirs[0], arguments.output))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from tlm_jax.reports.comparison import read_comparison
    from tlm_jax.reports.comparison_page import lines, solved_lines, write_comparison

    model_dirs = [Path(name) for name in arguments.model_dirs]
    names = None if arguments.names is None else arguments.names.split(",")
    if names is not None and len(names) != len(model_dirs):
        raise UserError(
            f"--names gives {len(names)} names for {len(model_dirs)} runs: give one for each"
        )
    tasks = read_comparison(model_dirs, names)
    for task in tasks:
        print("\n".join([*lines(task), *solved_lines(task, arguments.show)]))
    output = arguments.output or model_dirs[-1].parent / "comparison.html"
    print(f"page      {write_comparison(tasks, Path(output))}")
    return 0


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
