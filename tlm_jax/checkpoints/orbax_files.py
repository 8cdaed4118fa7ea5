"""Reads and writes the arrays of a checkpoint with Orbax, quietly and imported when needed.

Only Orbax's stable interface is used (`AsyncCheckpointer`, `args.Composite`); every call here is
one that all processes make together.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlm_jax import trees
from tlm_jax.checkpoints.structure import named_leaves, unnested

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

STATE, DATA, METRICS = "state", "data", "metrics"


def checkpointer() -> ocp.AsyncCheckpointer:
    """Returns an Orbax checkpointer for our three items."""
    ocp = orbax()
    return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())


def start_save(
    writer: ocp.AsyncCheckpointer,
    path: Path,
    state: Any,
    data: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Copies `state` off the devices and starts writing; `writer.wait_until_finished` ends it."""
    ocp = orbax()
    writer.save(
        path.absolute(),
        args=ocp.args.Composite(
            **{
                STATE: ocp.args.PyTreeSave(trees.unflatten(named_leaves(state))),
                DATA: ocp.args.JsonSave(dict(data)),
                METRICS: ocp.args.JsonSave(dict(metrics)),
            }
        ),
    )


def read_arrays(path: Path, abstract: Any) -> Any:
    """Returns the arrays that `abstract` names, which may be a part of what was saved.

    Args:
      path: one checkpoint.
      abstract: arrays or `ShapeDtypeStruct`s; a leaf with a sharding becomes a JAX array so
        sharded, whatever the sharding it was saved with, and one without a NumPy array.
    """
    ocp = orbax()

    def restore_args(leaf: Any) -> ocp.RestoreArgs:
        sharding = getattr(leaf, "sharding", None)
        if sharding is None:
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.ArrayRestoreArgs(
            sharding=sharding, global_shape=tuple(leaf.shape), dtype=leaf.dtype
        )

    leaves = named_leaves(abstract)
    restored = _reader().restore(
        path.absolute(),
        args=ocp.args.Composite(
            **{
                STATE: ocp.args.PyTreeRestore(
                    item=trees.unflatten(leaves),
                    restore_args=trees.unflatten(
                        {name: restore_args(x) for name, x in leaves.items()}
                    ),
                    partial_restore=True,
                )
            }
        ),
    )
    return unnested(restored[STATE], abstract)


def read_dicts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the data position and the metrics in flight."""
    ocp = orbax()
    restored = _reader().restore(
        path.absolute(),
        args=ocp.args.Composite(**{DATA: ocp.args.JsonRestore(), METRICS: ocp.args.JsonRestore()}),
    )
    return restored[DATA], restored[METRICS]


@functools.cache
def orbax() -> Any:
    """Imports Orbax, and keeps it from the terminal: we say ourselves what went wrong."""
    import orbax.checkpoint as ocp

    marker = str(Path(ocp.__file__).parent)
    logging.getLogger("absl").addFilter(lambda record: not record.pathname.startswith(marker))
    logging.getLogger("asyncio").addFilter(_is_not_a_second_failure)
    sys.unraisablehook = _without_late_callbacks(sys.unraisablehook)
    return ocp


def _is_not_a_second_failure(record: logging.LogRecord) -> bool:
    """Drops asyncio's note of a failed write of which Orbax has already raised another."""
    error = record.exc_info[1] if record.exc_info else None
    return not ("never retrieved" in record.getMessage() and "os_error_code=" in str(error))


def _without_late_callbacks(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Returns a hook for unraisable exceptions that drops TensorStore's after a failed save.

    When one array cannot be written, Orbax closes its event loop while other writes still run,
    and each of these then fails to report its end to the closed loop.
    """

    def filtered(unraisable: Any) -> None:
        trace = unraisable.exc_traceback
        late = trace is not None and trace.tb_frame.f_code.co_name == "call_soon_threadsafe"
        if not (late and str(unraisable.exc_value) == "Event loop is closed"):
            hook(unraisable)

    return filtered


@functools.cache
def _reader() -> Any:
    ocp = orbax()
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())
