"""Compares what two engines sampled."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from tlm_jax.decoding.requests import Sample


def assert_same_samples(
    got: Mapping[Hashable, Sample], expected: Mapping[Hashable, Sample]
) -> None:
    """Checks tokens and ends exactly, log-probabilities within 1e-5."""
    assert got.keys() == expected.keys()
    for key, sample in got.items():
        assert sample.tokens == expected[key].tokens
        assert sample.finish_reason == expected[key].finish_reason
        np.testing.assert_allclose(sample.logprobs, expected[key].logprobs, atol=1e-5)
