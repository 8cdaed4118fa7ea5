"""Learning rates at steps worked out by hand."""

import jax
import pytest

from tlm_jax.errors import UserError
from tlm_jax.optim.schedules import Constant, Cosine, InverseSquareRoot, Linear


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(0.5), {0: 0.5, 10**6: 0.5}),
        (Constant(0.5, warmup_steps=4), {0: 0.0, 1: 0.125, 3: 0.375, 4: 0.5, 9: 0.5}),
        (InverseSquareRoot(), {0: 0.01, 10_000: 0.01, 40_000: 0.005, 10**6: 0.001}),
        (InverseSquareRoot(3.0, flat_steps=4, warmup_steps=2), {0: 0, 1: 0.75, 4: 1.5, 9: 1.0}),
        (Linear(1.0, total_steps=10), {0: 1.0, 5: 0.5, 10: 0.0, 12: 0.0}),
        (Linear(1.0, 12, end=0.2, warmup_steps=2), {0: 0, 1: 0.5, 2: 1.0, 7: 0.6, 12: 0.2}),
        (Cosine(1.0, total_steps=8), {0: 1.0, 2: 0.8535534, 4: 0.5, 8: 0.0, 99: 0.0}),
        (Cosine(1.0, 10, end=0.5, warmup_steps=2), {1: 0.5, 2: 1.0, 6: 0.75, 10: 0.5}),
    ],
)
def test_values(schedule, values):
    for step, expected in values.items():
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-7)
        assert float(jax.jit(schedule)(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_total_within_the_warm_up_is_refused(kind):
    with pytest.raises(UserError, match=f"{kind.__name__}.total_steps is 5 and warmup_steps 5"):
        kind(1.0, total_steps=5, warmup_steps=5)


def test_zero_flat_steps_are_refused():
    with pytest.raises(UserError, match="flat_steps is 0"):
        InverseSquareRoot(flat_steps=0)
