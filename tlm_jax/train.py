"""Trains a student: `python -m tlm_jax.train --gin_file=FILE [--gin.NAME=VALUE ...]`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import arguments
from tlm_jax.runs.command_line import configuration as command_line


def parser() -> arguments.Parser:
    """Returns the parser of the command line."""
    return arguments.configured_parser(
        "train",
        "Train or distil a student, evaluating as it goes.",
        examples=(
            "train --gin_file=gin_configs/quickstart.gin MODEL_DIR=runs/mine TRAIN_STEPS=200",
            "train --gin_file=gin_configs/runs/gsm8k_pretrained.gin "
            "--gin_file=gin_configs/methods/lora.gin INITIAL_CHECKPOINT_PATH=smollm2 "
            "DATA_DIR=data MODEL_DIR=runs/lora",
        ),
    )


def main(argv: Sequence[str]) -> int:
    """Runs one training job; returns the exit status."""
    known, bindings = arguments.parse_settings(parser(), argv)

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
