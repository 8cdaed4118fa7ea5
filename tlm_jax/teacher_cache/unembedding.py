"""Keeps the teacher's unembedding once, from which `hidden` rows tell whole distributions."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Float

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.whole_files import read_json, write_json, write_whole

FILE_NAME = "unembedding.json"


class StoredUnembedding(NamedTuple):
    """Maps hidden states to logits, as `tlm_jax.types.Unembedding` does.

    Attributes:
      matrix: [E, V], bfloat16 or float32.
      scale: of the hidden states.
      soft_cap: None for none.
      bias: [V], or None.
    """

    matrix: np.ndarray
    scale: float = 1.0
    soft_cap: float | None = None
    bias: np.ndarray | None = None

    def logits(self, hidden: Float[np.ndarray, "T E"]) -> Float[np.ndarray, "T V"]:
        """Returns float32 logits; see `Unembedding.logits`."""
        scaled = (self.scale * hidden.astype(np.float32)).astype(self.matrix.dtype)
        logits = scaled.astype(np.float32) @ self.matrix.astype(np.float32)
        if self.bias is not None:
            logits += self.bias.astype(np.float32)
        if self.soft_cap is None:
            return logits
        return self.soft_cap * np.tanh(logits / self.soft_cap)


def write_unembedding(directory: Path, unembedding: StoredUnembedding) -> None:
    """Writes the unembedding, or does nothing where the same lies.

    Raises:
      UserError: another teacher's lies there.
    """
    arrays = {"matrix": unembedding.matrix, "bias": unembedding.bias}
    described = {"scale": unembedding.scale, "soft_cap": unembedding.soft_cap, "arrays": {}}
    data: dict[str, bytes] = {}
    for name, array in arrays.items():
        if array is None:
            continue
        data[name] = _npy(array)
        described["arrays"][name] = {"dtype": str(array.dtype), "crc32": zlib.crc32(data[name])}
    path = directory / FILE_NAME
    if path.exists():
        if _described(path) != described:
            raise UserError(f"{path}: another teacher's unembedding; use another directory.")
        return
    for name, content in data.items():
        write_whole(_array_path(directory, name), content)
    # Last: where it lies, all is there.
    write_json(path, described)


def read_unembedding(directory: Path) -> StoredUnembedding | None:
    """Returns the unembedding that lies there, None if there is none.

    Raises:
      UserError: it is damaged.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    described = _described(path)
    try:
        arrays = {
            name: _read(_array_path(directory, name), entry)
            for name, entry in described["arrays"].items()
        }
        return StoredUnembedding(
            arrays["matrix"], described["scale"], described["soft_cap"], arrays.get("bias")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); write it again from the teacher.") from error


def _described(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); write it again from the teacher.") from error


def _array_path(directory: Path, name: str) -> Path:
    return directory / f"unembedding-{name}.npy"


def _npy(array: np.ndarray) -> bytes:
    """NumPy's format knows no bfloat16: its bits are kept as uint16."""
    kept = array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(kept), allow_pickle=False)
    return file.getvalue()


def _read(path: Path, entry: dict[str, object]) -> np.ndarray:
    data = path.read_bytes()
    if zlib.crc32(data) != entry["crc32"]:
        raise ValueError(f"{path.name} does not have its checksum")
    array = np.load(io.BytesIO(data), allow_pickle=False)
    return array.view(ml_dtypes.bfloat16) if entry["dtype"] == "bfloat16" else array
