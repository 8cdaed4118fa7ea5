"""Runs what may take for ever, or all memory, in a process that may be killed.

Programs that come with data (a chat template), and computer algebra on a model's output, may not
end, inside C code that no exception reaches. A worker answers a JSON question a line with a JSON
object a line; the kernel ends it when a question takes too long, and the next question starts it
anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class NoReply(Exception):
    """The worker ended instead of answering.

    Attributes:
      limit_seconds: of the limit that ended it; None where that was something else.
      status: of the process, negative for a signal.
    """

    def __init__(self, limit_seconds: float | None, status: int):
        super().__init__(f"the worker ended with status {status}")
        self.limit_seconds, self.status = limit_seconds, status


class LimitedProcess:
    """A worker that starts with the first question and anew after each death; threads may share it.

    It is a module whose `main` calls `serve`, with the limits in seconds of processor time and in
    bytes as its arguments.
    """

    def __init__(self, worker: str, *, limit_seconds: float, memory_bytes: int):
        self._worker, self._limit_seconds = worker, limit_seconds
        self._arguments = (str(limit_seconds), str(memory_bytes))
        self._process: subprocess.Popen[str] | None = None
        self._one_at_a_time = threading.Lock()

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the worker's reply.

        Raises:
          NoReply: a limit has ended it, or it has died.
        """
        with self._one_at_a_time:
            return self._ask(question)

    def close(self) -> None:
        """Ends the worker, if there is one."""
        with self._one_at_a_time:
            self._end()

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line.endswith("\n"):
            return json.loads(line)
        status = process.wait()
        self._end()
        raise NoReply(self._limit_seconds if status == -signal.SIGPROF else None, status)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            # The worker must find this package from wherever the main was started.
            paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._worker, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                process_group=0,  # a terminal's Ctrl-C is for the main, which ends it
            )
        return self._process

    def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                # What it never read cannot be flushed.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def serve(
    reply: Callable[[dict[str, Any]], dict[str, Any]], prepare: Callable[[], object] = lambda: None
) -> None:
    """Answers questions until standard input ends, or one takes too long, which kills the process.

    Args:
      reply: returns the answer to a question; what it raises ends the process.
      prepare: imports what is slow to import, outside the limit of the first question.
    """
    limit_seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # The kernel's own action, so that it also ends what runs in C. Processor time, so that a busy
    # machine gives the same answers.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in sys.stdin:
        prepare()
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, limit_seconds)
        answer = json.dumps(reply(question))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(answer, flush=True)
