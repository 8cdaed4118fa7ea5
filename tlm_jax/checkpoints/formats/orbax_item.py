"""Lists and opens the arrays of one item of an Orbax checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.checkpoints.formats.tensorstore_arrays import (
    DESCRIPTIONS,
    file_store,
    open_arrays,
    open_specs,
    reason,
)
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray

METADATA = "_METADATA"
DATABASE = "manifest.ocdbt"


def is_item(directory: Path) -> bool:
    """Returns whether an item lies here."""
    return (directory / METADATA).is_file() or (directory / DATABASE).is_file()


def open_item(directory: Path) -> dict[str, LazyArray]:
    """Returns the arrays of one item of an Orbax checkpoint, by '/'-joined names.

    Args:
      directory: such as `checkpoint_100/state`, with an OCDBT database or one zarr directory an
        array.

    Raises:
      UserError: it holds no such item, or the item is damaged.
    """
    listed = _listed(directory)
    database = (directory / DATABASE).is_file()
    if listed is None and not database:
        raise UserError(
            f"no Orbax item at {directory}: expected a folder with {METADATA} or {DATABASE}"
        )
    names, complete, driver = listed or _found(directory)
    if not database:
        paths = {name: directory / stored for name, stored in names.items()}
        return open_arrays(paths, complete=complete)
    specs = {
        name: {
            "driver": driver,
            "kvstore": {
                "driver": "ocdbt",
                "base": file_store(directory),
                "path": f"{stored}/",
            },
        }
        for name, stored in names.items()
    }
    return open_specs(specs, {name: f"{directory}: {name}" for name in names}, complete)


def _listed(directory: Path) -> tuple[dict[str, str], bool, str] | None:
    """Returns what Orbax's description lists: names to where they are, completeness, driver."""
    path = directory / METADATA
    if not path.is_file():
        return None
    try:
        description = json.loads(path.read_bytes())
        entries = description["tree_metadata"].values()
        names = {}
        for entry in entries:
            keys = [str(part["key"]) for part in entry["key_metadata"]]
            if _is_array(entry["value_metadata"]):
                names["/".join(keys)] = ".".join(keys)
        driver = "zarr3" if description.get("use_zarr3") else "zarr"
        complete = bool(description.get("store_array_data_equal_to_fill_value"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not Orbax's description of a tree of arrays; the checkpoint is damaged or "
            "of an unknown version, get it again"
        ) from None
    return names, complete, driver


def _is_array(value: Mapping[str, Any]) -> bool:
    if value.get("skip_deserialize"):
        return False
    return value.get("value_type") in ("jax.Array", "np.ndarray", "scalar")


def _found(directory: Path) -> tuple[dict[str, str], bool, str]:
    """As `_listed`, of a database without a description, whose keys say what is there."""
    import tensorstore as ts

    base = {"driver": "ocdbt", "base": file_store(directory)}
    try:
        keys = [key.decode() for key in ts.KvStore.open(base).result().list().result()]
    except ValueError as error:
        raise UserError(f"{directory}: the database cannot be read ({reason(error)})") from None
    for driver, file in DESCRIPTIONS.items():
        stored = [key.removesuffix(f"/{file}") for key in keys if key.endswith(f"/{file}")]
        if stored:
            return {name.replace(".", "/"): name for name in stored}, False, driver
    raise UserError(f"{directory}: the database holds no arrays")
