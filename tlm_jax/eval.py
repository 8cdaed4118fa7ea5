"""Evaluates checkpoints on tasks: `python -m tlm_jax.eval --gin_file=gin_configs/eval.gin ...`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import configuration as command_line


def main(argv: Sequence[str]) -> int:
    """Runs one evaluation; returns the exit status."""
    arguments = command_line.parser(
        "eval", "Evaluate checkpoints on tasks: accuracies with intervals, and paired tests."
    )
    known, bindings = command_line.parse(arguments, argv)
    known.gin_file = known.gin_file or ["gin_configs/eval.gin"]

    from tlm_jax.runs.evaluation.config import EvalConfig

    config, configuration = command_line.load(EvalConfig, known, bindings)

    from tlm_jax.runs.command_line import environment

    environment.prepare()

    from tlm_jax.runs.evaluation.run import run_evaluation

    run_evaluation(config, configuration)
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
