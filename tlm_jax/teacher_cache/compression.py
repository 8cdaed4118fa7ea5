"""Compresses what encodings leave: nothing of `topk` and `sampled`, some of `hidden`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tlm_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Compression:
    """A pair of inverse functions on bytes; `decompress` raises ValueError on anything else."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


def compression_by_name(name: str) -> Compression:
    """Returns the compression `none` or `zstd`.

    Raises:
      UserError: no such compression, or its library is not installed.
    """
    if name == "none":
        return Compression(bytes, bytes)
    if name == "zstd":
        return _zstd()
    known = ("none", "zstd")
    raise UserError(f"no compression {name!r}; there are none and zstd.{nearest(name, known)}")


def _zstd() -> Compression:
    try:
        import zstandard  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "this cache is compressed with zstd, which needs the extra: pip install 'tlm_jax[zstd]'"
        ) from error
    library: Any = zstandard

    def decompress(data: bytes) -> bytes:
        try:
            return library.ZstdDecompressor().decompress(data)
        except library.ZstdError as error:
            raise ValueError(str(error)) from error

    return Compression(lambda data: library.ZstdCompressor(level=3).compress(data), decompress)
