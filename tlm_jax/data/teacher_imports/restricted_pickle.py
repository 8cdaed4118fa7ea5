"""Reads pickles that hold plain data, and refuses those that would run code."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError, system_reason
from tlm_jax.system.limited_process import LimitedProcess, NoReply


def load(path: Path) -> Any:
    """Returns what a pickle holds: lists, tuples, dicts, texts, numbers, None, `OrderedDict`.

    Loading a pickle calls whatever functions it names; here it may name `OrderedDict` alone. A few
    bytes of it can also ask for gigabytes, or hash nested tuples for ever: a process of limited
    time and memory reads it first.

    Raises:
      UserError: the file names anything else, is no pickle, cannot be read, or takes more than a
        file of its size does.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path} cannot be read: {system_reason(error)}") from error
    first = LimitedProcess(
        "tlm_jax.data.teacher_imports.pickle_worker",
        limit_seconds=_LEAST_SECONDS + size / _BYTES_A_SECOND,
        memory_bytes=_LEAST_MEMORY + _MEMORY_A_BYTE * size,
    )
    try:
        reply = first.ask({"path": str(path.absolute())})
    except NoReply:
        raise UserError(
            f"{path} takes more time or memory than {size:,} bytes of plain data do; it is "
            "damaged, or made to"
        ) from None
    finally:
        first.close()
    if "problem" in reply:
        raise UserError(str(reply["problem"]).replace(str(path.absolute()), str(path)))
    return read(path)


def read(path: Path) -> Any:
    """As `load`, without limits.

    Raises:
      UserError: as `load`.
    """
    try:
        with path.open("rb") as file:
            return _PlainData(file).load()
    except _Refused as refused:
        raise UserError(
            f"{path} is refused: to load it would call {refused}, and pickles from elsewhere can "
            "run any code. Expected lists, dicts, tuples, texts and numbers; write it so again "
            "where you trust it."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {system_reason(error)}") from error
    except MemoryError:
        raise UserError(f"{path} asks for more memory than there is; it is damaged") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(
            f"{path} is no whole pickle of plain data ({type(error).__name__}: {error}); "
            "fetch it again"
        ) from None


_LEAST_SECONDS, _BYTES_A_SECOND = 10.0, 2e6
_LEAST_MEMORY, _MEMORY_A_BYTE = 1 << 29, 64
"""Far above what plain data need: about 20 bytes a byte, and a second for 30 MB."""


class _Refused(Exception):
    """The name of what a pickle wanted to call."""


class _PlainData(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the persistent object {pid!r}")
