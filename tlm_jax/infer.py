"""Draws samples from a model: `python -m tlm_jax.infer MODEL=... PROMPTS=FILE OUTPUT_DIR=DIR`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import arguments
from tlm_jax.runs.command_line import configuration as command_line


def parser() -> arguments.Parser:
    """Returns the parser of the command line."""
    return arguments.configured_parser(
        "infer",
        "Draw samples from a model for a task or a file of prompts.",
        default_file="gin_configs/infer.gin",
        examples=(
            "infer MODEL=runs/a PROMPTS=questions.jsonl OUTPUT_DIR=samples NUM_SAMPLES=4",
            "infer MODEL=openai:http://localhost:8000/v1,NAME PROMPTS=questions.jsonl "
            "OUTPUT_DIR=samples",
        ),
    )


def main(argv: Sequence[str]) -> int:
    """Runs one inference job; returns the exit status: 1 where samples are missing."""
    known, bindings = arguments.parse_settings(parser(), argv)

    from tlm_jax.runs.inference.config import InferenceConfig

    run, configuration = command_line.load(InferenceConfig, known, bindings)
    if known.dry_run:
        print(configuration)
        return 0
    if run.remote is None:
        from tlm_jax.runs.command_line import environment

        environment.prepare(together=False)

    from tlm_jax.runs.inference.run import run_inference

    return 1 if run_inference(run) else 0


if __name__ == "__main__":
    command_line.run_main(main)
