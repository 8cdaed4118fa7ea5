"""Fills, checks and shows teacher caches: `python -m tlm_jax.cache_teacher COMMAND ...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tlm_jax.errors import UserError, nearest
from tlm_jax.runs.cache_teacher import commands as teacher_commands
from tlm_jax.runs.cache_teacher import inspection as cache_inspection
from tlm_jax.runs.cache_teacher import maintenance as cache_maintenance

COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "score": teacher_commands.score,
    "import": teacher_commands.import_captured,
    "verify": cache_maintenance.verify,
    "merge": cache_maintenance.merge,
    "inspect": cache_inspection.inspect,
}
"""Each takes the arguments after its name; the first line of its docstring is its help."""


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns its exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 1
    name, *arguments = argv
    if name not in COMMANDS:
        raise UserError(
            f"no command {name!r}; there are {', '.join(COMMANDS)}.{nearest(name, COMMANDS)}"
        )
    return COMMANDS[name](arguments)


def _usage() -> str:
    lines = [__doc__, ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:10}{(command.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "COMMAND --help tells its arguments."])


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
