"""Ends the processes of one run together: an error of one is told by all, and a lost one is missed.

Processes wait for each other in collectives, without end where one of them has left. So each keeps
two things in the store that JAX's coordination service has: a count that goes up while it lives,
and the reason should it end early. A thread looks at those of the others.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

from tlm_jax.system import interruption

_LOOK_SECONDS = 1.0
_LOST_SECONDS = 30.0
"""Without a sign of life for so long, a process is taken for lost; JAX's own limit is 100."""

_ENDED, _ALIVE, _DONE = "tlm_jax/ended/", "tlm_jax/alive/", "done"


class Peers:
    """The other processes of this run, from the time when all have found each other."""

    def __init__(self, client: Any, index: int, count: int):
        """Starts the thread.

        Args:
          client: JAX's, of the coordination service.
          index: of this process.
          count: of all.
        """
        self._client, self._index, self._count = client, index, count
        self._finished = threading.Event()
        self._last: dict[int, tuple[str, float]] = {}
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def notify(self, reason: str) -> None:
        """Tells all others to end, and why; returns when they have had the time to learn of it."""
        with contextlib.suppress(Exception):  # nobody can be reached any more
            self._client.key_value_set(f"{_ENDED}{self._index}", reason, allow_overwrite=True)
        if self._index == 0:
            # The service that they ask lives in this process.
            time.sleep(3 * _LOOK_SECONDS)

    def wait_for_news(self) -> None:
        """Returns when all others have given a sign of life, so that none of them is at fault.

        Where one has ended or is lost, this process has ended by then.
        """
        time.sleep(_LOST_SECONDS + 3 * _LOOK_SECONDS)

    def leave(self) -> None:
        """Is called when this process has nothing left to do; the others do not miss it."""
        self._finished.set()
        self._thread.join()
        with contextlib.suppress(Exception):
            self._client.key_value_set(f"{_ALIVE}{self._index}", _DONE, allow_overwrite=True)

    def _watch(self) -> None:
        beats, answered = 0, time.monotonic()
        while not self._finished.wait(_LOOK_SECONDS):
            beats += 1
            try:
                mine = f"{_ALIVE}{self._index}"
                self._client.key_value_set(mine, str(beats), allow_overwrite=True)
                ended = self._client.key_value_dir_get(_ENDED)
                alive = self._client.key_value_dir_get(_ALIVE)
            except Exception:  # of the service's many kinds, all mean that it does not answer
                if time.monotonic() - answered > _LOST_SECONDS:
                    _end(self._lost(0))
                continue
            answered = time.monotonic()
            for key, reason in ended:
                index = int(key.rpartition("/")[2])
                if index != self._index:
                    _end(f"process {index} of {self._count} ended: {reason}")
            for key, beat in alive:
                self._see(int(key.rpartition("/")[2]), beat)

    def _see(self, index: int, beat: str) -> None:
        now = time.monotonic()
        last, since = self._last.get(index, ("", now))
        if beat != last:
            self._last[index] = beat, now
        elif beat != _DONE and index != self._index and now - since > _LOST_SECONDS:
            _end(self._lost(index))

    def _lost(self, index: int) -> str:
        return (
            f"process {index} of {self._count} has given no sign of life for {_LOST_SECONDS:g} s: "
            "it was killed, or cannot be reached. Start all processes again: they go on from what "
            "is saved."
        )


_peers: Peers | None = None


def join(client: Any, index: int, count: int) -> None:
    """Begins to watch over the processes of a run that has several, and to be watched."""
    global _peers
    _peers = Peers(client, index, count)
    interruption.before_end(_peers.notify)


def current() -> Peers | None:
    """Returns the other processes of this run, if it has several."""
    return _peers


def _end(reason: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"error: {reason}\n".encode())
    os._exit(1)
