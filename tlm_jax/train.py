"""Trains a student: `python -m tlm_jax.train --gin_file=FILE [--gin.NAME=VALUE ...]`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import configuration as command_line


def main(argv: Sequence[str]) -> int:
    """Runs one training job; returns the exit status."""
    arguments = command_line.parser("train", "Train a student, evaluating as it goes.")
    arguments.add_argument(
        "--dry_run",
        action="store_true",
        help="print the configuration with everything filled in, and stop",
    )
    known, bindings = command_line.parse(arguments, argv)

    from tlm_jax.runs.training.config import RunConfig

    run, configuration = command_line.load(RunConfig, known, bindings)
    if known.dry_run:
        print(configuration)
        return 0

    from tlm_jax.runs.command_line import environment

    environment.prepare()

    from tlm_jax.runs.training.session import run_training

    run_training(run, configuration)
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
