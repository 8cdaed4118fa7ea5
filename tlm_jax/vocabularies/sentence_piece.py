"""SentencePiece models as vocabularies."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.vocabularies.base import PAD_ID, Vocabulary, digest, read_vocabulary_file


@dataclasses.dataclass(frozen=True)
class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model file, such as T5's.

    Attributes:
      path: the `.model` file, or `asset:NAME` for one that comes with the library.
      extra_ids: sentinels `<extra_id_0>` ... put after the pieces in descending order, as T5 does
        (T5's own models have 100 of them).
    """

    path: str
    extra_ids: int = 0

    @property
    def processor(self) -> Any:
        """The `sentencepiece.SentencePieceProcessor`, extra ids added."""
        return self._read[0]

    @property
    def model_bytes(self) -> bytes:
        """The serialized model, extra ids added."""
        return self._read[1]

    @property
    def size(self) -> int:
        return self.processor.get_piece_size()

    @property
    def eos_id(self) -> int:
        eos = self.processor.eos_id()
        if eos < 0:
            raise UserError(f"{self.path}: this SentencePiece model has no EOS piece; train it so.")
        return eos

    @property
    def bos_id(self) -> int:
        return self.processor.bos_id() if self.has_bos else super().bos_id

    @property
    def has_bos(self) -> bool:
        return self.processor.bos_id() >= 0

    @property
    def unk_id(self) -> int | None:
        return self.processor.unk_id()

    @property
    def zero_is_padding(self) -> bool:
        return self.processor.pad_id() == PAD_ID

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        # One thread: the pipeline tokenizes in its own thread beside the training step.
        encoded = self.processor.encode(list(texts), out_type=int, num_threads=1)
        return [np.asarray(ids, dtype=np.int32) for ids in encoded]

    def decode_text(self, ids: list[int]) -> str:
        return self.processor.decode(ids)

    def piece(self, token_id: int) -> str:
        if not 0 <= token_id < self.size:
            return f"<{token_id}?>"
        return self.processor.id_to_piece(token_id)

    @functools.cached_property
    def _read(self) -> tuple[Any, bytes]:
        content = read_vocabulary_file(self.path)
        try:
            return _parsed(content, self.extra_ids)
        except Exception as error:
            raise UserError(f"{self.path} is not a SentencePiece model: {error}") from error

    @functools.cached_property
    def _fingerprint(self) -> str:
        return digest(b"sentencepiece", self.model_bytes)


@functools.lru_cache(maxsize=16)
def _parsed(model_bytes: bytes, extra_ids: int) -> tuple[Any, bytes]:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    processor = sentencepiece.SentencePieceProcessor()
    if extra_ids:
        model_proto: Any = vars(proto)["ModelProto"]  # made at run time, unknown to checkers
        model = model_proto.FromString(model_bytes)
        piece_type = model_proto.SentencePiece.USER_DEFINED
        for i in reversed(range(extra_ids)):
            model.pieces.add(piece=f"▁<extra_id_{i}>", score=0.0, type=piece_type)
        model_bytes = model.SerializeToString()
    processor.LoadFromSerializedProto(model_bytes)
    return processor, model_bytes
