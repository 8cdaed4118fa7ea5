"""The command `tlm`: `tlm train ...` is `python -m tlm_jax.train ...`, and so for every main."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

from tlm_jax.errors import UserError, nearest

COMMANDS: Mapping[str, str] = {
    "train": "train or distil a student, evaluating as it goes",
    "eval": "compare checkpoints on tasks: greedy, by rank, by majority",
    "infer": "draw samples from a model, here or behind a server",
    "grade": "grade the predictions of a file by a named rule",
    "curate": "choose among generated solutions what to train on",
    "rate": "have people rate explanations and corrections on a page of this machine",
    "recipe": "run a published method from questions to results",
    "cache_teacher": "fill, check, join and show caches of a teacher's distributions",
    "convert": "turn a model into another format",
    "align": "align the tokens of two tokenizers",
    "inspect": "list tasks, or show one as text, tokens and packing",
    "report": "write a page on a run, or on several side by side",
    "precompile": "compile a run for a TPU slice that is not here, and say whether it fits",
    "lm_eval": "run lm-evaluation-harness on a model",
}
"""Each is the module `tlm_jax.NAME`, with a function `main(argv)` that returns the exit status."""


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns its exit status."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if argv else 1
    name, *arguments = argv
    if name == "completion":
        return _completion(arguments)
    if name not in COMMANDS:
        raise UserError(f"no command {name!r}.{nearest(name, COMMANDS)} Try tlm --help.")
    module = "lm_eval.__main__" if name == "lm_eval" else name
    return int(importlib.import_module(f"tlm_jax.{module}").main(arguments) or 0)


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = ["usage: tlm COMMAND [ARGUMENT ...]", ""]
    lines += [f"  {name:{width}}{help}" for name, help in COMMANDS.items()]
    return "\n".join(
        [
            *lines,
            f"  {'completion':{width}}print a completion script for bash or zsh",
            "",
            "tlm COMMAND --help tells more; python -m tlm_jax.COMMAND is the same as tlm COMMAND.",
        ]
    )


def _completion(arguments: Sequence[str]) -> int:
    from tlm_jax.runs.command_line import completion
    from tlm_jax.runs.command_line.arguments import Parser

    parser = Parser(
        "completion",
        "Print a script that completes commands and flags.",
        examples=("completion bash > ~/.local/share/bash-completion/completions/tlm",),
    )
    parser.add_argument("shell", choices=completion.SHELLS)
    print(completion.script(parser.parse(arguments).shell, COMMANDS))
    return 0


def entry_point() -> None:
    """Runs the console script `tlm`."""
    from tlm_jax.runs.command_line.configuration import run_main

    # As `python -m` does: TASK_MODULES names modules in the current directory.
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    run_main(main)


if __name__ == "__main__":
    sys.argv[0] = "tlm"
    entry_point()
