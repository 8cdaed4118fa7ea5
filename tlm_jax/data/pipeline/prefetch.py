"""Makes batches ahead of time in a thread, so that the device need not wait for the host."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.05


class Prefetcher(Generic[T]):
    """Runs an iterator in a daemon thread, at most `depth` items ahead.

    An exception of the iterator is raised where its item would have been.

    Attributes:
      wait_seconds: time spent in `next` so far.
    """

    def __init__(self, iterator: Iterator[T], depth: int = 2):
        self.wait_seconds = 0.0
        self._iterator = iterator
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=max(depth, 1))
        self._stopping = threading.Event()
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tlm_jax-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended is not None:
            raise self._ended
        began = time.perf_counter()
        kind, value = self._queue.get()
        self.wait_seconds += time.perf_counter() - began
        if kind == "item":
            return value
        self._ended = value
        raise value

    def close(self) -> None:
        """Stops the thread and waits for it to finish the item it is making."""
        self._stopping.set()
        self._thread.join()
        self._ended = StopIteration()

    def _run(self) -> None:
        try:
            for item in self._iterator:
                if not self._put("item", item):
                    return
            self._put("end", StopIteration())
        except BaseException as error:
            self._put("end", error)

    def _put(self, kind: str, value: Any) -> bool:
        """Puts an item into the queue; returns False if the prefetcher was closed meanwhile."""
        while not self._stopping.is_set():
            try:
                self._queue.put((kind, value), timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False
