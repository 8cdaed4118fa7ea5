"""Goes on from the newest checkpoint and saves every step as fast as it can, until it is killed.

    worker_saving.py DIRECTORY LAST_STEP [MAX_FILE_BYTES]

Prints each step once its checkpoint is complete. The state of step n is a function of n, so a
reader can tell a mixture of two steps from a whole one. As a main does, it prints a `UserError` as
one line and exits with 1.
"""

import resource
import sys

import numpy as np
from absl import logging

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.errors import UserError

WIDTH = 256


def state_of(step):
    rng = np.random.default_rng(step)
    params = {f"layer_{i}": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) for i in range(4)}
    return {"params": params, "step": np.int32(step)}


def main(directory, last_step, max_file_bytes=None):
    import jax

    logging.set_verbosity(logging.INFO)
    if max_file_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(max_file_bytes), hard))
    manager = CheckpointManager(directory, keep=KeepPolicy(last=2))
    restored = manager.restore(state_of(0))
    start = 0 if restored is None else restored[0]
    for step in range(start + 1, int(last_step) + 1):
        manager.save(step, Items(jax.device_put(state_of(step)), {"position": step}))
        # Every third save overlaps the next step, as in training.
        if step % 3:
            manager.wait()
            print(step, flush=True)
    manager.close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
