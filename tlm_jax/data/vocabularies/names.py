"""Choosing a vocabulary by name, and checking it against a model."""

from __future__ import annotations

from tlm_jax.data.vocabularies.base import Vocabulary
from tlm_jax.data.vocabularies.byte import ByteVocabulary
from tlm_jax.data.vocabularies.hugging_face import HuggingFaceVocabulary
from tlm_jax.data.vocabularies.sentence_piece import SentencePieceVocabulary
from tlm_jax.errors import UserError


def vocabulary_from_name(name: str) -> Vocabulary:
    """Returns the vocabulary a command line names.

    Args:
      name: `byte`; `FILE.model` (SentencePiece; `FILE.model+100` adds 100 extra ids);
        `FILE.json` (Hugging Face); or `asset:NAME` (SentencePiece, comes with the library).

    Raises:
      UserError: none of these.
    """
    path, _, extra = name.partition("+") if name.rpartition("+")[2].isdigit() else (name, "", "0")
    if path in ("byte", "bytes"):
        return ByteVocabulary(extra_ids=int(extra))
    if path.endswith(".model") or path.startswith("asset:"):
        return SentencePieceVocabulary(path, extra_ids=int(extra))
    if name.endswith(".json"):
        return HuggingFaceVocabulary(name)
    raise UserError(
        f"cannot tell what vocabulary {name!r} is: expected 'byte', a SentencePiece file ending in "
        "'.model' (with '+100' for 100 extra ids), a Hugging Face 'tokenizer.json', or 'asset:NAME'"
    )


def check_vocabulary_fits(vocabulary: Vocabulary, num_embeddings: int) -> None:
    """Raises UserError where the embedding has fewer rows than the vocabulary has ids."""
    if vocabulary.size > num_embeddings:
        raise UserError(
            f"the vocabulary has {vocabulary.size} ids but the model's embedding only "
            f"{num_embeddings} rows; set vocab_size to at least {vocabulary.size} "
            f"(a multiple of 128, {-(-vocabulary.size // 128) * 128}, shards evenly)."
        )
