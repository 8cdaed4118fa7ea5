"""Scores are compared with what was computed elsewhere."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products in full float32, as the recorded ones."""
    with jax.default_matmul_precision("highest"):
        yield
