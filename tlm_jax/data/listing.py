"""The list of registered tasks, a line each: what `tlm_jax.inspect --list` prints."""

from __future__ import annotations

import sys

from tlm_jax.data import tasks


def listing() -> list[tuple[str, str, str, str]]:
    """Returns (name, kind, splits or members, description) of everything registered so far.

    Besides our own tasks these are SeqIO's, where some module has imported SeqIO.
    """
    rows, mixtures = [], []
    for name, entry in tasks.registered().items():
        if isinstance(entry, tasks.Task):
            rows.append((name, "task", ", ".join(entry.source.splits), entry.description))
        else:
            members = ", ".join(f"{member} {rate:g}" for member, rate in entry.rates)
            mixtures.append((name, "mixture", members, entry.description))
    rows += mixtures
    if "seqio" in sys.modules:
        from tlm_jax.data import seqio_bridge

        rows += [
            (name, f"SeqIO {kind}", "", "registered in SeqIO by a module of yours")
            for name, kind in seqio_bridge.foreign_names()
        ]
    return rows
