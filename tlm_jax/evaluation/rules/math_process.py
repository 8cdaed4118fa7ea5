"""Runs the comparison of mathematics in a process that may be killed.

Computer algebra on a model's output may take for ever (`9^{9^{9}}`), inside C code that no
exception reaches, or take all memory.
"""

from __future__ import annotations

import importlib.util

from tlm_jax.errors import UserError
from tlm_jax.evaluation.rules.rule import Undecided
from tlm_jax.system.limited_process import LimitedProcess, NoReply

WORKER = "tlm_jax.evaluation.rules.math_worker"


class MathProcess:
    """A worker that starts with the first question and anew after each death.

    `limit_seconds` are of processor time.
    """

    def __init__(self, limit_seconds: float = 5.0, memory_bytes: int = 2 << 30):
        self._worker = LimitedProcess(
            WORKER, limit_seconds=limit_seconds, memory_bytes=memory_bytes
        )

    def same(self, gold: str, answer: str) -> bool:
        """Whether two answers, written in LaTeX or plainly, mean the same.

        Raises:
          Undecided: if the comparison took longer or more memory than allowed.
          UserError: if the package math-verify is not installed.
        """
        if importlib.util.find_spec("math_verify") is None:
            raise UserError(
                "the rule 'math' needs the package math-verify, which is not installed; "
                "install it with: pip install 'tlm_jax[math]'"
            )
        try:
            reply = self._worker.ask({"gold": gold, "answer": answer})
        except NoReply as gone:
            if gone.limit_seconds is None:
                raise Undecided(f"the comparison ended with status {gone.status}") from None
            raise Undecided(f"no verdict after {gone.limit_seconds:g} seconds") from None
        if "problem" in reply:
            raise Undecided(reply["problem"])
        return reply["same"]

    def close(self) -> None:
        """Ends the worker, if there is one."""
        self._worker.close()
