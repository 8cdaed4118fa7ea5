"""One of two processes that save and restore one sharded state together.

    worker_two_processes.py ADDRESS PROCESS_INDEX DIRECTORY

Prints a JSON object of what this process found.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.checkpoints.processes import gather
from tlm_jax.errors import UserError

VALUES = {
    "params": {
        "kernel": np.arange(16 * 8, dtype=np.float32).reshape(16, 8),
        "scale": np.arange(8, dtype=np.float32),
    }
}
SPECS = {"params": {"kernel": PartitionSpec("fsdp", "tensor"), "scale": PartitionSpec()}}


def sharded(shape, plus=0.0, width=8):
    """Returns the values + `plus` on a mesh of all eight devices."""
    mesh = Mesh(np.array(jax.devices()).reshape(shape), ("fsdp", "tensor"))

    def put(value, spec):
        value = value[..., :width] + np.float32(plus)
        return jax.make_array_from_callback(
            value.shape, NamedSharding(mesh, spec), lambda index: value[index]
        )

    return jax.tree.map(put, VALUES, SPECS)


def equal(state, plus):
    """Whether every shard that this process holds has the right values."""
    return all(
        np.array_equal(np.asarray(shard.data), (value + np.float32(plus))[shard.index])
        for array, value in zip(jax.tree.leaves(state), jax.tree.leaves(VALUES))
        for shard in array.addressable_shards
    )


def main(address, index, directory):
    jax.distributed.initialize(address, num_processes=2, process_id=int(index))
    lines = []
    manager = CheckpointManager(directory, keep=KeepPolicy(last=2), announce=lines.append)
    nothing = manager.restore(sharded((4, 2)))
    for step in (1, 2, 3):
        manager.save(step, Items(sharded((4, 2), plus=step), {"position": step}, {"n": step}))
    manager.wait()
    steps = manager.all_steps()
    step, items = manager.restore(sharded((2, 4)))
    found = {
        "gathered": gather({"process": int(index), "text": "x" * (5 + 100 * int(index))}),
        "nothing": nothing,
        "steps": steps,
        "restored": [step, items.data, items.metrics, equal(items.state, plus=3)],
    }
    try:
        manager.restore(sharded((4, 2), width=6))
    except UserError as error:
        found["other_model"] = str(error)
    if index == "0":
        # A file in one process's share of the check: both must turn to the previous checkpoint.
        file = max((Path(directory) / "3" / "state").rglob("*/d/*"), key=lambda p: p.stat().st_size)
        file.write_bytes(b"x" * file.stat().st_size)
    gather(None)
    step, items = manager.restore(sharded((8, 1)))
    found["after_damage"] = [step, items.data, equal(items.state, plus=2)]
    found["announced"] = lines
    manager.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
