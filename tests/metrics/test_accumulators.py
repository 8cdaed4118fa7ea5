"""Means are over tokens, survive a checkpoint exactly, and reading waits for one step only."""

import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from tlm_jax.metrics.accumulators import Accumulator, InFlight


def weighted(total, weight):
    return SimpleNamespace(total=total, weight=weight)


def test_mean_over_tokens_by_hand():
    accumulator = Accumulator()
    accumulator.add({"loss": weighted(30.0, 10.0), "empty": weighted(0.0, 0.0)}, {"norm": 1.0})
    accumulator.add({"loss": weighted(2.0, 6.0), "empty": weighted(0.0, 0.0)}, {"norm": 4.0})
    means = accumulator.means()
    # Not (3 + 1/3) / 2.
    assert means["loss"] == 2.0
    assert means["norm"] == 2.5
    assert math.isnan(means["empty"])
    accumulator.reset()
    assert accumulator.means() == {}


def test_going_on_from_json_is_exact():
    unbroken, stopped = Accumulator(), Accumulator()
    for i in range(7):
        step = ({"loss": weighted(jnp.float32(0.1 * i), jnp.float32(3.0))}, {"norm": 1 / (i + 1)})
        unbroken.add(*step)
        stopped.add(*step)
        resumed = Accumulator()
        resumed.restore(json.loads(json.dumps(stopped.state())))
        stopped = resumed
    assert stopped.means() == unbroken.means()


def test_in_flight_gives_the_step_before():
    in_flight = InFlight()
    double = jax.jit(lambda x: {"y": 2 * x})
    assert in_flight.put(1, double(1.0)) is None
    step, values = in_flight.put(2, double(2.0))
    assert (step, float(values["y"])) == (1, 2.0)
    assert not isinstance(values["y"], jax.Array)
    step, values = in_flight.take()
    assert (step, float(values["y"])) == (2, 4.0)
    assert in_flight.take() is None
