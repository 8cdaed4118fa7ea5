"""Reads pickles that hold plain data, and refuses those that would run code."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError, system_reason


def load(path: Path) -> Any:
    """Returns what a pickle holds: lists, tuples, dicts, texts, numbers, None, `OrderedDict`.

    Loading a pickle calls whatever functions it names; here it may name `OrderedDict` alone.

    Raises:
      UserError: the file names anything else, is no pickle, or cannot be read.
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


class _Refused(Exception):
    """The name of what a pickle wanted to call."""


class _PlainData(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the persistent object {pid!r}")
