"""The parts of a run give the same numbers on one device and on eight."""

import dataclasses

import jax
import numpy as np
import pytest

from tlm_jax.runs.training import data, parts
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.training import batches


def _losses(run, devices):
    built = parts.build_parts(run, devices)
    rows = batches.host_rows(run.batch_size, built.batch_sharding)
    state = built.initial_state(run.seed)
    losses = []
    with data.open_pipeline(run, rows) as pipeline:
        for _ in range(4):
            arrays = batches.to_global(next(pipeline).arrays, built.batch_sharding, rows)
            state, metrics = built.train_step(state, arrays)
            losses.append(float(metrics.sums["loss"].mean()))
    return losses


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 2, 2)])
def test_one_device_equals_eight(tiny_run, shape):
    # Dropout stays on: its masks depend on the seed and the step, not on the devices.
    one = _losses(tiny_run(), jax.devices()[:1])
    eight = _losses(tiny_run(mesh=MeshShape(*shape)), jax.devices())
    np.testing.assert_allclose(eight, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pack", [False, True])
def test_abstract_batch_is_what_the_pipeline_gives(tiny_run, pack):
    run = tiny_run(data=dataclasses.replace(tiny_run().data, pack=pack))
    built = parts.build_parts(run)
    rows = batches.host_rows(run.batch_size, built.batch_sharding)
    with data.open_pipeline(run, rows) as pipeline:
        arrays = batches.to_global(next(pipeline).arrays, built.batch_sharding, rows)
    expected = parts.abstract_batch(run, built.batch_sharding)
    assert {name: (a.shape, a.dtype) for name, a in arrays.items()} == {
        name: (a.shape, a.dtype) for name, a in expected.items()
    }
