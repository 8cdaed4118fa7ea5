"""The process that reads a pickle before anybody else does. Started by `restricted_pickle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlm_jax.data.teacher_imports import restricted_pickle
from tlm_jax.errors import UserError
from tlm_jax.system.limited_process import serve


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    """Returns what is wrong with a file, if anything is."""
    try:
        restricted_pickle.read(Path(question["path"]))
    except UserError as error:
        return {"problem": str(error)}
    return {}


if __name__ == "__main__":
    serve(_reply)
