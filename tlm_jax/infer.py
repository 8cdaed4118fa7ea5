"""Draws samples from a model: `python -m tlm_jax.infer MODEL=... PROMPTS=FILE OUTPUT_DIR=DIR`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import configuration as command_line

_DEFAULT_FILE = "gin_configs/infer.gin"


def main(argv: Sequence[str]) -> int:
    """Runs one inference job; returns the exit status: 1 where samples are missing."""
    arguments = command_line.parser(
        "infer",
        "Draw samples from a model for a task or a file of prompts. NAME=VALUE sets a macro of "
        f"{_DEFAULT_FILE}, as --gin.NAME=VALUE does, but texts need no quotes: "
        "MODEL=runs/a PROMPTS=questions.jsonl OUTPUT_DIR=samples NUM_SAMPLES=4. "
        "MODEL=openai:http://localhost:8000/v1,NAME asks an OpenAI-compatible server.",
    )
    arguments.add_argument(
        "--dry_run",
        action="store_true",
        help="print the configuration with everything filled in, and stop",
    )
    known, bindings = command_line.parse(
        arguments, [command_line.as_binding(argument) for argument in argv]
    )
    known.gin_file = known.gin_file or [_DEFAULT_FILE]

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
