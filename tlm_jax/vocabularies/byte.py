"""UTF-8 bytes as tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tlm_jax.vocabularies.base import Vocabulary, digest


@dataclasses.dataclass(frozen=True)
class ByteVocabulary(Vocabulary):
    """UTF-8 bytes, shifted by three: 0 padding, 1 EOS, 2 UNK, byte b is b + 3 (as ByT5's).

    Attributes:
      extra_ids: sentinel ids after the bytes.
    """

    extra_ids: int = 0

    @property
    def size(self) -> int:
        return 3 + 256 + self.extra_ids

    @property
    def eos_id(self) -> int:
        return 1

    @property
    def unk_id(self) -> int | None:
        return 2

    @property
    def zero_is_padding(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        return digest(b"bytes", str(self.extra_ids).encode())

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [
            np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int32) + 3
            for text in texts
        ]

    def decode_text(self, ids: list[int]) -> str:
        return bytes(i - 3 for i in ids if 3 <= i < 259).decode("utf-8", errors="ignore")

    def piece(self, token_id: int) -> str:
        if token_id < 3:
            return ("<pad>", "</s>", "<unk>")[token_id]
        if token_id >= 259:
            return f"<extra_id_{self.size - 1 - token_id}>"
        character = chr(token_id - 3)
        return character if character.isprintable() and token_id < 131 else f"<{token_id - 3:02X}>"
