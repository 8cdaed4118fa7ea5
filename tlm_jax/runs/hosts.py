"""Which host this one is, of those that share a job without waiting for each other."""

from __future__ import annotations

from tlm_jax.errors import UserError


def check_hosts(host_index: int | None, num_hosts: int | None) -> None:
    """Raises UserError where HOST_INDEX and NUM_HOSTS do not fit each other."""
    if (num_hosts is None) != (host_index is None):
        raise UserError("NUM_HOSTS and HOST_INDEX belong together: set both or neither")
    if host_index is not None and host_index not in range(num_hosts or 0):
        raise UserError(f"HOST_INDEX is {host_index} of {num_hosts}, counted from 0")


def this_host(host_index: int | None, num_hosts: int | None) -> tuple[int, int]:
    """Returns this host's number and how many there are; JAX's processes where nothing is said."""
    if host_index is not None and num_hosts is not None:
        return host_index, num_hosts
    import jax

    return jax.process_index(), jax.process_count()
