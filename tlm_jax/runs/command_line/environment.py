"""Sets up JAX for a main: compilation cache, several hosts, no chatter."""

from __future__ import annotations

import glob
import os

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import peers
from tlm_jax.sharding.tpu_topology import quiet_libtpu
from tlm_jax.system.home import cache_folder
from tlm_jax.training.host_memory import keep_freed_memory

_TPU_DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")


def prepare(*, together: bool = True) -> None:
    """Prepares JAX; call it before the first array is made.

    Args:
      together: whether the hosts of a run wait for each other, so that an error of one has to end
        all; not where each does its own share and waits for nobody.

    - Compiled programs are kept in JAX_COMPILATION_CACHE_DIR, by default
      `~/.cache/tlm_jax/compilation`, so that a second start compiles nothing.
    - With JAX_COORDINATOR_ADDRESS set (and JAX_NUM_PROCESSES, JAX_PROCESS_ID where the cluster
      does not tell), the hosts of a run find each other.

    - On a CPU, memory that one step frees is kept for the next.

    Raises:
      UserError: the hosts do not find each other.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not any(glob.glob(pattern) for pattern in _TPU_DEVICES):
        quiet_libtpu()  # where the extra `tpu` is installed on a machine without one
        if not glob.glob("/dev/nvidia*"):
            keep_freed_memory()
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None:
        cache = cache_folder("compilation")
        if cache is not None:
            jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if os.environ.get("JAX_COORDINATOR_ADDRESS"):
        _join_hosts(together)


def _join_hosts(together: bool) -> None:
    import jax
    from jax._src import distributed  # the only way to the store that all processes see

    # It would take SIGTERM for itself; hosts agree on a stop in `training.stopping`.
    jax.config.update("jax_enable_preemption_service", False)
    count, index = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
    try:
        jax.distributed.initialize(
            num_processes=int(count) if count else None,
            process_id=int(index) if index else None,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"cannot join the run at {os.environ['JAX_COORDINATOR_ADDRESS']} as process {index} of "
            f"{count}: {str(error).splitlines()[0]}"
        ) from error
    if together:
        # Not jax.process_index(), which would start the devices.
        state = distributed.global_state
        peers.join(state.client, state.process_id, state.num_processes)
