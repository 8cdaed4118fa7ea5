"""Small tasks of letters, and pipelines over them."""

import json

import numpy as np
import pytest

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.sources import ListSource, RecordSource


class Endless(RecordSource):
    """Example i of the training split has i % 7 + 1 letters in and i % 5 + 1 out."""

    splits = ("train",)

    def num_examples(self, split):
        return None

    def example(self, split, index):
        return {"id": str(index), "inputs": "i" * (index % 7 + 1), "targets": "t" * (index % 5 + 1)}


def finite(count, label):
    return ListSource(
        {
            "train": [
                {"id": f"{label}{i}", "inputs": f"{label} {i}" * (i % 3), "targets": f"{i}" * 2}
                for i in range(count)
            ]
        }
    )


@pytest.fixture(scope="module", autouse=True)
def pipeline_tasks():
    tasks.register_task("pipe_endless", Endless())
    tasks.register_task("pipe_small", finite(37, "s"))
    tasks.register_task("pipe_other", finite(11, "o"))
    tasks.register_mixture("pipe_mixture", {"pipe_small": 3, "pipe_other": 1})
    yield
    for name in ("pipe_mixture", "pipe_other", "pipe_small", "pipe_endless"):
        tasks.unregister(name)


def make(name="pipe_small", hosts=1, host=0, **options):
    options = {
        "feature_lengths": {"inputs": 24, "targets": 12},
        "batch_size": 8,
        "packing_window": 16,
        **options,
    }
    gathered = options.pop("gathered", None)
    return Pipeline(
        PipelineConfig(name, **options), host_index=host, num_hosts=hosts, all_gather=gathered
    )


def take(pipeline, count):
    return [next(pipeline) for _ in range(count)]


def global_batches(name, hosts, count, state=None, **options):
    """Runs all hosts one after another; returns whole batches and the state behind them."""
    parts, places = [], []
    for host in range(hosts):
        with make(name, hosts, host, **options) as pipeline:
            if state is not None:
                pipeline.restore(state)
            parts.append(take(pipeline, count))
            places.append(pipeline._places)
            last = pipeline
    # What a collective would give every host.
    last._all_gather = lambda mine: np.stack(places)
    arrays = [
        {k: np.concatenate([p[i].arrays[k] for p in parts]) for k in parts[0][i].arrays}
        for i in range(count)
    ]
    ids = [sum((p[i].example_ids for p in parts), ()) for i in range(count)]
    return arrays, ids, json.loads(json.dumps(last.state()))


def assert_equal_batches(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert sorted(a) == sorted(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
