"""Choosing a vocabulary by name, and checking it against a model."""

from __future__ import annotations

from pathlib import Path

from tlm_jax.errors import UserError
from tlm_jax.system.home import expanded
from tlm_jax.vocabularies.base import Vocabulary
from tlm_jax.vocabularies.byte import ByteVocabulary
from tlm_jax.vocabularies.hugging_face import HuggingFaceVocabulary
from tlm_jax.vocabularies.sentence_piece import SentencePieceVocabulary


def vocabulary_from_name(name: str) -> Vocabulary:
    """Returns the vocabulary a command line names.

    Args:
      name: `byte`; `FILE.model` (SentencePiece; `FILE.model+100` adds 100 extra ids);
        `FILE.json` (Hugging Face); `asset:NAME` (SentencePiece, comes with the library); or a
        directory with a model's tokenizer files.

    Raises:
      UserError: none of these.
    """
    directory = expanded(name)
    if directory.is_dir():
        return _vocabulary_in(directory)
    path, _, extra = name.partition("+") if name.rpartition("+")[2].isdigit() else (name, "", "0")
    if path in ("byte", "bytes"):
        return ByteVocabulary(extra_ids=int(extra))
    if path.endswith(".model") or path.startswith("asset:"):
        return SentencePieceVocabulary(path, extra_ids=int(extra))
    if name.endswith(".json"):
        return HuggingFaceVocabulary(name)
    raise UserError(
        f"cannot tell what vocabulary {name!r} is: expected 'byte', a SentencePiece file ending in "
        "'.model' (with '+100' for 100 extra ids), a Hugging Face 'tokenizer.json', a directory "
        "with one of these, or 'asset:NAME'"
    )


def _vocabulary_in(directory: Path) -> Vocabulary:
    """Returns the vocabulary whose files lie in the directory of a model."""
    if (directory / "tokenizer.json").is_file():
        return HuggingFaceVocabulary(str(directory / "tokenizer.json"))
    for name, extra_ids in (("spiece.model", 100), ("tokenizer.model", 0)):
        # "spiece.model" is T5's name, whose tokenizer adds 100 ids to the pieces of the file.
        if (directory / name).is_file():
            return SentencePieceVocabulary(str(directory / name), extra_ids=extra_ids)
    raise UserError(
        f"{directory} has no tokenizer: expected tokenizer.json, tokenizer.model or spiece.model"
    )


def check_vocabulary_fits(
    vocabulary: Vocabulary, num_embeddings: int, setting: str | None = None
) -> None:
    """Checks that the embedding has a row for each of the vocabulary's ids.

    Args:
      vocabulary: whose ids are looked up.
      num_embeddings: rows of the embedding.
      setting: that names the vocabulary of a model which is there already; None where the model
        is made, and can have more rows.

    Raises:
      UserError: it has fewer.
    """
    if vocabulary.size <= num_embeddings:
        return
    remedy = (
        f"set vocab_size to at least {vocabulary.size} (a multiple of 128, "
        f"{-(-vocabulary.size // 128) * 128}, shards evenly); a model that is there already gets "
        "the rows by RESIZE_VOCABULARY=True"
        if setting is None
        else "the tokenizer is of another model, or has had tokens added since; set "
        f"{setting} to the one of the model's training"
    )
    raise UserError(
        f"the vocabulary has {vocabulary.size} ids but the model's embedding only "
        f"{num_embeddings} rows; {remedy}."
    )
