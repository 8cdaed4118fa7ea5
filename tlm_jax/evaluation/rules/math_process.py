"""Runs the comparison of mathematics in a process that may be killed.

Computer algebra on a model's output may take for ever (`9^{9^{9}}`), inside C code that no
exception reaches, or take all memory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tlm_jax.errors import UserError
from tlm_jax.evaluation.rules.rule import Undecided

WORKER = "tlm_jax.evaluation.rules.math_worker"


class MathProcess:
    """A worker that starts with the first question and anew after each death.

    `limit_seconds` are of processor time.
    """

    def __init__(self, limit_seconds: float = 5.0, memory_bytes: int = 2 << 30):
        self._arguments = (str(limit_seconds), str(memory_bytes))
        self._limit_seconds = limit_seconds
        self._process: subprocess.Popen[str] | None = None
        self._one_at_a_time = threading.Lock()

    def same(self, gold: str, answer: str) -> bool:
        """Whether two answers, written in LaTeX or plainly, mean the same.

        Raises:
          Undecided: if the comparison took longer or more memory than allowed.
          UserError: if the package math-verify is not installed.
        """
        with self._one_at_a_time:
            reply = self._ask({"gold": gold, "answer": answer})
        if "problem" in reply:
            raise Undecided(reply["problem"])
        return reply["same"]

    def close(self) -> None:
        """Ends the worker, if there is one."""
        with self._one_at_a_time:
            self._end()

    def _ask(self, question: dict[str, str]) -> dict:
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
        code = process.wait()
        self._end()
        if code == -signal.SIGPROF:
            return {"problem": f"no verdict after {self._limit_seconds:g} seconds"}
        return {"problem": f"the comparison ended with status {code}"}

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            if importlib.util.find_spec("math_verify") is None:
                raise UserError(
                    "the rule 'math' needs the package math-verify, which is not installed; "
                    "install it with: pip install 'tlm_jax[math]'"
                )
            # The worker must find this package from wherever the main was started.
            paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
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
