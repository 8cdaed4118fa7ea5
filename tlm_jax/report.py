"""`python -m tlm_jax.report MODEL_DIR` writes one self-contained page on a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Parses the command line, writes the page, and prints where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m tlm_jax.report",
        description="Writes MODEL_DIR/report.html: curves, evaluations with intervals, sample "
        "predictions and the configuration of a run. Works while the run is going on, too.",
    )
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="the directory of a run")
    parser.add_argument("--output", metavar="FILE", help="where to write the page instead")
    arguments = parser.parse_args(list(argv))

    # After parsing, so that --help is quick.
    from tlm_jax.evaluation.report_page import write_report

    print(write_report(arguments.model_dir, arguments.output))
    return 0


if __name__ == "__main__":
    from tlm_jax.runs.command_line import run_main

    run_main(main)
