"""The encoding `hidden`: the teacher's last hidden states, which tell whole distributions."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import struct
from collections.abc import Sequence
from typing import ClassVar

import ml_dtypes
import numpy as np
from jaxtyping import Bool, Int32, UInt16

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.checked_steps import check_ids, check_weights
from tlm_jax.teacher_cache.encoding import Encoding, Steps
from tlm_jax.teacher_cache.header import FORMAT_VERSION
from tlm_jax.teacher_cache.sparse_symbols import DIGEST_BYTES
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions

_STEPS = struct.Struct("<I")
_WIDTH = struct.Struct("<I")


@dataclasses.dataclass(frozen=True)
class HiddenRow:
    """T steps as they are kept.

    Attributes:
      token_ids: what was scored.
      kept: whether the teacher says something.
      bits: of the bfloat16 states; 0 where the step was dropped.
    """

    token_ids: Int32[np.ndarray, " T"]
    kept: Bool[np.ndarray, " T"]
    bits: UInt16[np.ndarray, "T E"]

    def digest(self) -> bytes:
        """Returns 8 bytes that stand for the content."""
        hashed = hashlib.blake2b(digest_size=DIGEST_BYTES)
        hashed.update(struct.pack("<II", *self.bits.shape))
        for values, kind in ((self.token_ids, "<i4"), (self.kept, "u1"), (self.bits, "<u2")):
            hashed.update(values.astype(kind).tobytes())
        return hashed.digest()


@dataclasses.dataclass(frozen=True)
class HiddenWidth:
    """The codebook: E."""

    width: int

    def to_bytes(self) -> bytes:
        """Returns 4 bytes."""
        return _WIDTH.pack(self.width)


@dataclasses.dataclass(frozen=True)
class Hidden(Encoding):
    """Keeps bfloat16 hidden states bit by bit; the unembedding is kept once, beside the rows."""

    name: ClassVar[str] = "hidden"
    max_error_nats: ClassVar[float] = 0.0

    def prepare(
        self,
        token_ids: Int32[np.ndarray, " T"],
        steps: StepDistributions | HiddenSteps,
        vocabulary_size: int,
    ) -> HiddenRow:
        if not isinstance(steps, HiddenSteps):
            raise UserError("the encoding 'hidden' takes hidden states, not distributions.")
        check_weights(steps.weights, len(token_ids))
        check_ids(token_ids, vocabulary_size, "the scored token id")
        kept = steps.weights > 0
        hidden = steps.hidden.astype(ml_dtypes.bfloat16, copy=False)
        finite = np.isfinite(hidden.astype(np.float32)).all(axis=1)
        if (kept & ~finite).any():
            step = int(np.flatnonzero(kept & ~finite)[0])
            raise UserError(f"step {step}: its hidden state is not finite.")
        bits = np.where(kept[:, None], hidden.view(np.uint16), np.uint16(0))
        return HiddenRow(token_ids, kept, bits)

    def tally(self, prepared: HiddenRow) -> dict[str, int]:
        return {"dropped_steps": int((~prepared.kept).sum())}

    def fit(self, rows: Sequence[HiddenRow]) -> HiddenWidth:
        widths = sorted({row.bits.shape[1] for row in rows})
        if len(widths) > 1:
            raise UserError(f"hidden states of different widths: {', '.join(map(str, widths))}.")
        return HiddenWidth(widths[0])

    def read_codebook(self, data: bytes, version: int = FORMAT_VERSION) -> HiddenWidth:
        try:
            return HiddenWidth(*_WIDTH.unpack(data))
        except struct.error as error:
            raise ValueError(str(error)) from error

    def encode(self, codebook: HiddenWidth, rows: Sequence[HiddenRow]) -> list[bytes]:
        # Low bytes, then high bytes: signs and exponents together compress, mantissas do not.
        return [
            b"".join(
                (
                    _STEPS.pack(len(row.token_ids)),
                    row.token_ids.astype("<i4").tobytes(),
                    np.packbits(row.kept, bitorder="little").tobytes(),
                    (row.bits & 255).astype(np.uint8).tobytes(),
                    (row.bits >> 8).astype(np.uint8).tobytes(),
                )
            )
            for row in rows
        ]

    def decode(self, codebook: HiddenWidth, bodies: Sequence[bytes | memoryview]) -> list[Steps]:
        return [_decode(bytes(body), codebook.width) for body in bodies]


def _decode(body: bytes, width: int) -> Steps:
    if len(body) < _STEPS.size:
        raise ValueError("a row without its number of steps")
    (steps,) = _STEPS.unpack_from(body)
    sizes = [_STEPS.size, 4 * steps, (steps + 7) // 8, steps * width, steps * width]
    if len(body) != sum(sizes):
        raise ValueError(f"{len(body)} bytes for {steps} steps of width {width}")
    ends = np.cumsum(sizes).tolist()
    tokens, kept, low, high = (body[start:stop] for start, stop in itertools.pairwise(ends))
    bits = np.frombuffer(high, np.uint8).astype(np.uint16) << 8 | np.frombuffer(low, np.uint8)
    weights = np.unpackbits(np.frombuffer(kept, np.uint8), bitorder="little", count=steps)
    hidden = bits.reshape(steps, width).view(ml_dtypes.bfloat16)
    token_ids = np.frombuffer(tokens, "<i4").astype(np.int32)
    return token_ids, HiddenSteps(hidden, weights.astype(np.float32))
