"""Ends a process on Ctrl-C or SIGTERM: always, soon, and with one line.

By default Python raises KeyboardInterrupt wherever its main thread happens to be. In a callback of
the garbage collector, such as JAX's, the exception is ignored and the signal lost; while C code
compiles or waits, nothing happens at all; two of them can end the interpreter in the middle of its
own work. So here nothing is raised. Python's handler of signals writes their numbers to a file
descriptor, and a thread that reads it acts at once, whatever the main thread does.

What mains write is whole or absent after a kill at any moment, so nothing has to be unwound.
Only training has something worth saving first: `training.stopping.StopRequest`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST = b"\0"
"""No signal has this number."""


class Stopped(Exception):
    """A signal was taken, and the work has ended in order; mains print it and exit with `status`.

    Attributes:
      status: 128 and the signal's number, as shells have it: 130 for Ctrl-C.
    """

    def __init__(self, number: int, after: str = ""):
        """Names the signal; `after` is where the work ended, such as "after step 4"."""
        where = f" {after}" if after else ""
        super().__init__(
            f"stopped by {signal.Signals(number).name}{where}; what was finished is safe, and the "
            "same command goes on"
        )
        self.status = 128 + number


_before_end: list[Callable[[str], object]] = []


def before_end(call: Callable[[str], object]) -> None:
    """Lets `end` call `call(line)` first: for other processes that wait for this one."""
    _before_end.append(call)


def end(number: int) -> NoReturn:
    """Prints the line and ends the process where it stands."""
    stopped = Stopped(number)
    # A bar that was being drawn has hidden the cursor.
    restored = b"\r\x1b[K\x1b[?25h" if sys.__stderr__ and sys.__stderr__.isatty() else b""
    with contextlib.suppress(OSError):
        os.write(2, restored + f"{stopped}\n".encode())
    for call in _before_end:
        call(str(stopped))
    os._exit(stopped.status)


def watch() -> None:
    """Lets SIGINT and SIGTERM end the process from now on; to be called in the main thread."""
    _watch(end)


@contextlib.contextmanager
def watched(taken: Callable[[int], object]) -> Iterator[None]:
    """Calls `taken(number)`, in a thread of its own, for each SIGINT and SIGTERM while entered.

    Takes over from `watch` meanwhile. A signal that comes before the exit is taken before the exit
    returns. Only the main thread may set handlers; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    finish = _watch(taken)
    try:
        yield
    finally:
        finish()


def _watch(taken: Callable[[int], object]) -> Callable[[], None]:
    """Starts watching; returns what ends it and puts back how it was."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    thread = threading.Thread(target=_take, args=(read_end, taken), name="signals", daemon=True)
    thread.start()
    previous_descriptor = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    previous = {number: signal.signal(number, _nothing) for number in SIGNALS}

    def finish() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_descriptor)
        os.write(write_end, _LAST)
        thread.join()
        os.close(write_end)
        os.close(read_end)

    return finish


def _nothing(number: int, frame: object) -> None:
    """Without a handler in Python, nothing is written to the descriptor."""


def _take(read_end: int, taken: Callable[[int], object]) -> None:
    while True:
        for number in os.read(read_end, 64):
            if number in SIGNALS:
                taken(number)
            if number == _LAST[0]:
                return


def _forget() -> None:
    """Gives a forked process back the usual actions: its signals are not those of this one."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _nothing:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


os.register_at_fork(after_in_child=_forget)
