"""Number of rows that a device works on at a time: as told, or as many as its memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import jax

from tlm_jax.errors import UserError

T = TypeVar("T")

FIRST_ROWS = {"cpu": 8}
"""What "auto" tries first, by platform. More rows do not make a CPU faster."""
FIRST_ROWS_ELSEWHERE = 64

_log = logging.getLogger("lm_eval.tlm_jax")


class Rows:
    """A number of rows, halved while a device has too little memory for them."""

    def __init__(self, wanted: int | None, *, most: int | None = None, divisor: int = 1):
        """Takes the number.

        Args:
          wanted: None for as many as fit, tried from `FIRST_ROWS` on.
          most: then, at most so many.
          divisor: the number is rounded up to a multiple of it, what a mesh splits a batch into.
        """
        first = wanted or FIRST_ROWS.get(jax.default_backend(), FIRST_ROWS_ELSEWHERE)
        if wanted is None and most is not None:
            first = min(first, most)
        self._fixed, self._divisor = wanted is not None, divisor
        self.number = -(-first // divisor) * divisor

    def run(self, work: Callable[[int], T]) -> T:
        """Returns `work(number)`, called again with half as many where memory does not suffice.

        Raises:
          UserError: it does not suffice for the number wanted, or for a single row.
        """
        while True:
            try:
                return work(self.number)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                self._halve(error)

    def _halve(self, error: Exception) -> None:
        if self._fixed:
            raise UserError(
                f"{self.number} rows do not fit into the device's memory: lower --batch_size, or "
                "give --batch_size auto"
            ) from error
        if self.number <= self._divisor:
            raise UserError(
                "a single row does not fit into the device's memory: lower max_length, or split "
                "the model with fsdp= or tensor= in --model_args"
            ) from error
        self.number = -(-(self.number // 2) // self._divisor) * self._divisor
        _log.warning("too little memory: going on with %d rows at a time", self.number)
