"""Evaluates checkpoints on tasks: `python -m tlm_jax.eval --gin_file=gin_configs/eval.gin ...`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import arguments
from tlm_jax.runs.command_line import configuration as command_line


def parser() -> arguments.Parser:
    """Returns the parser of the command line."""
    return arguments.configured_parser(
        "eval",
        "Evaluate checkpoints on tasks: accuracies with intervals, and paired tests.",
        default_file="gin_configs/eval.gin",
        examples=(
            "eval CHECKPOINTS=\"['runs/a', 'runs/b']\" "
            "EVAL_TASKS=\"['word_problems_easy_cot_zero_shot']\" OUTPUT_DIR=evaluation",
        ),
    )


def main(argv: Sequence[str]) -> int:
    """Runs one evaluation; returns the exit status."""
    known, bindings = arguments.parse_settings(parser(), argv)

    from tlm_jax.runs.evaluation.config import EvalConfig

    config, configuration = command_line.load(EvalConfig, known, bindings)
    if known.dry_run:
        print(configuration)
        return 0

    from tlm_jax.runs.command_line import environment

    environment.prepare()

    from tlm_jax.runs.evaluation.run import run_evaluation

    run_evaluation(config, configuration)
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
