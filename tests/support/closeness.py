"""Comparing trees of arrays."""

from typing import Any

import jax
import numpy as np


def assert_close(got: Any, expected: Any, rtol: float = 2e-5, atol: float = 1e-6) -> None:
    """Asserts that two trees are the same but for rounding; narrow types as float32."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=rtol, atol=atol
        ),
        got,
        expected,
    )
