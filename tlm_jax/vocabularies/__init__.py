"""Text to token ids and back: bytes, SentencePiece and Hugging Face, without TensorFlow.

The ids equal those of SeqIO's vocabularies; `as_seqio_vocabulary` in
`tlm_jax.data.seqio_vocabularies` gives any of these as a `seqio.Vocabulary`.
"""

from tlm_jax.vocabularies.base import PAD_ID, Vocabulary
from tlm_jax.vocabularies.byte import ByteVocabulary
from tlm_jax.vocabularies.hugging_face import HuggingFaceVocabulary
from tlm_jax.vocabularies.names import check_vocabulary_fits, vocabulary_from_name
from tlm_jax.vocabularies.sentence_piece import SentencePieceVocabulary

__all__ = [
    "PAD_ID",
    "ByteVocabulary",
    "HuggingFaceVocabulary",
    "SentencePieceVocabulary",
    "Vocabulary",
    "check_vocabulary_fits",
    "vocabulary_from_name",
]
