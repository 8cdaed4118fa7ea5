"""Reads a main's command line and gin files into the configuration object they describe.

T5X's habits: `--gin_file=F` (repeatable), `--gin.NAME=VALUE`, `--gin_search_paths=A,B`. Whatever is
wrong with them is one line that names the binding, where it stands, and the nearest right name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import peers
from tlm_jax.system import interruption
from tlm_jax.system.shipped import shipped_folder
from tlm_jax.system.terminal import printable

T = TypeVar("T")


def load(root: type[T], known: argparse.Namespace, bindings: Sequence[str]) -> tuple[T, str]:
    """Builds the `root` dataclass from gin files and bindings.

    Returns:
      The object, and the operative configuration as gin text (what `config.gin` holds).

    Raises:
      UserError: one line, for anything wrong in the files or the bindings.
    """
    import gin

    from tlm_jax.runs.command_line import gin_errors, validation

    if not known.gin_file:
        raise UserError("no configuration: give --gin_file=FILE (gin_configs/quickstart.gin, say)")
    gin.clear_config()
    shipped = str(shipped_folder("gin_configs").parent)
    searched = [".", *filter(None, known.gin_search_paths.split(",")), shipped]
    gin_errors.look_for_files_in(searched)
    gin_errors.read_files_as_utf8()
    with gin_errors.one_line(), _quiet_logging():
        texts: list[str] = []
        for path in known.gin_file:
            texts += gin_errors.texts_of(gin.parse_config_file(path))
        for binding in bindings:
            gin_errors.parse_binding(binding, texts)
        gin_errors.check_macros(texts, bindings)
        built = gin.get_configurable(root)()
        gin_errors.check_read(texts, bindings)
    validation.check_types(built, where=root.__name__)
    return built, gin.operative_config_str()


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Silences gin's own log lines about search paths; errors reach the user as exceptions."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(previous)


def run_main(main: Callable[[Sequence[str]], Any]) -> None:
    """Calls `main(argv)`, prints a `UserError` or a signal as one line, and ends promptly.

    The status is 1 after an error, 130 after Ctrl-C, 143 after SIGTERM, and 141 (1 in a table)
    where whoever read the output has left, as `| head` does. Characters that the encoding of the
    output lacks become `?`.

    Set `TLM_JAX_TRACEBACK=1` to see where a user error was raised.
    """
    if sys.stdout is None:  # closed by the shell: >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the exit)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    interruption.watch()
    status = _status(main)
    others = peers.current()
    if others is not None:
        if status == 1:
            # Not by way of JAX's farewell, which waits for processes that wait for this one.
            os._exit(status)
        others.leave()
    sys.exit(status)


def _status(main: Callable[[Sequence[str]], Any]) -> int:
    try:
        try:
            return int(main(sys.argv[1:]) or 0)
        finally:
            sys.stdout.flush()
    except UserError as error:
        if os.environ.get("TLM_JAX_TRACEBACK"):
            raise
        message = printable(str(error), keep="\n")
        print(f"error: {message}", file=sys.stderr, flush=True)
        _notify_peers(error)
        return 1
    except interruption.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.status
    except BrokenPipeError:
        # What is left in the buffer would be tried once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if peers.current() is None:
            raise
        _notify_peers(error)
        traceback.print_exception(error)
        return 1


def _notify_peers(error: Exception) -> None:
    others = peers.current()
    if others is None:
        return
    if _is_of_jax(error):
        # Most likely another process has broken a collective: then that one is told instead.
        others.wait_for_news()
    others.notify(str(error).strip().partition("\n")[0] or type(error).__name__)


def _is_of_jax(error: Exception) -> bool:
    """Whether JAX raised it: an exception of its own, or a ValueError of a broken collective."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    names = (type(error).__module__, frame.f_globals.get("__name__", ""))
    return any(name.partition(".")[0] in ("jax", "jaxlib") for name in names)
