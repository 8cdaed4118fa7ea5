"""Our vocabularies as SeqIO's, and SeqIO's as ours."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import seqio
import tensorflow as tf

from tlm_jax.vocabularies import ByteVocabulary, SentencePieceVocabulary, Vocabulary
from tlm_jax.vocabularies.base import vocabulary_file

# What a vocabulary makes of this tells it from others of the same kind and size.
_PROBE = "3 apples cost $1,200 (or 50 %); so: 3 × 4 = 12. ünïcödé ☃"


class SeqioVocabulary(seqio.Vocabulary):
    """One of our vocabularies as SeqIO's; in TensorFlow it calls back into Python."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    @property
    def bos_id(self) -> int:
        return self.vocabulary.bos_id

    @property
    def eos_id(self) -> int:
        return self.vocabulary.eos_id

    @property
    def unk_id(self) -> int | None:
        return self.vocabulary.unk_id

    @property
    def _base_vocab_size(self) -> int:
        return self.vocabulary.size

    def _encode(self, s: str | bytes) -> Sequence[int]:
        text = s.decode("utf-8") if isinstance(s, bytes) else s
        return self.vocabulary.encode(text).tolist()

    def _decode(self, ids: Sequence[int]) -> str:
        return self.vocabulary.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        def encode(text: np.ndarray | bytes) -> np.ndarray:
            # Eager calls give a 0-d array of objects, graphs give bytes.
            return self.vocabulary.encode(np.asarray(text, dtype=object).item().decode("utf-8"))

        ids = tf.numpy_function(encode, [s], tf.int32, stateful=False)
        return tf.ensure_shape(ids, [None])

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        def decode(rows: np.ndarray) -> np.ndarray:
            flat = rows.reshape(-1, rows.shape[-1])
            texts = [self.vocabulary.decode(row.tolist()).encode() for row in flat]
            return np.array(texts, dtype=object).reshape(rows.shape[:-1])

        text = tf.numpy_function(decode, [ids], tf.string, stateful=False)
        return tf.ensure_shape(text, ids.shape[:-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeqioVocabulary) and self.vocabulary == other.vocabulary

    def __hash__(self) -> int:
        return hash(self.vocabulary)


class ForeignVocabulary(Vocabulary):
    """A SeqIO vocabulary of somebody else's task as one of ours."""

    def __init__(self, vocabulary: seqio.Vocabulary):
        self.vocabulary = vocabulary

    @property
    def size(self) -> int:
        return self.vocabulary.vocab_size

    @property
    def eos_id(self) -> int:
        eos = self.vocabulary.eos_id
        return -1 if eos is None else eos

    @property
    def unk_id(self) -> int | None:
        return self.vocabulary.unk_id

    @property
    def zero_is_padding(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        vocabulary = self.vocabulary
        model = (
            vocabulary.sp_model if isinstance(vocabulary, seqio.SentencePieceVocabulary) else b""
        )
        ids = self.encode(_PROBE).tolist()
        facts = (type(vocabulary).__name__, self.size, self.eos_id, self.unk_id, ids)
        return hashlib.sha256(repr(facts).encode() + (model or b"")).hexdigest()[:16]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.asarray(self.vocabulary.encode(text), dtype=np.int32) for text in texts]

    def decode_text(self, ids: list[int]) -> str:
        return self.vocabulary.decode(ids)

    def piece(self, token_id: int) -> str:
        return self.vocabulary.decode([token_id]) or f"<{token_id}>"


@functools.singledispatch
def as_seqio_vocabulary(vocabulary: Vocabulary) -> seqio.Vocabulary:
    """Returns SeqIO's own class where it has one (bytes, SentencePiece), else an adapter."""
    return SeqioVocabulary(vocabulary)


@as_seqio_vocabulary.register
def _(vocabulary: ByteVocabulary) -> seqio.Vocabulary:
    return seqio.ByteVocabulary(extra_ids=vocabulary.extra_ids)


@as_seqio_vocabulary.register
def _(vocabulary: SentencePieceVocabulary) -> seqio.Vocabulary:
    file = vocabulary_file(vocabulary.path)
    return seqio.SentencePieceVocabulary(str(file), extra_ids=vocabulary.extra_ids)


def from_seqio_vocabulary(vocabulary: seqio.Vocabulary) -> Vocabulary:
    """Returns our own class where it gives the same ids, else an adapter."""
    if isinstance(vocabulary, SeqioVocabulary):
        return vocabulary.vocabulary
    if type(vocabulary) is seqio.ByteVocabulary:
        return ByteVocabulary(extra_ids=vocabulary.extra_ids)
    if type(vocabulary) is seqio.SentencePieceVocabulary:
        ours = SentencePieceVocabulary(
            vocabulary.sentencepiece_model_file, extra_ids=vocabulary.extra_ids
        )
        # Options of SeqIO's class (other sentinels, another normalizer) change the model's bytes.
        if ours.model_bytes == vocabulary.sp_model:
            return ours
    return ForeignVocabulary(vocabulary)
