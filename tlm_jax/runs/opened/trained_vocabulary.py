"""The vocabulary.json of a trained model: its vocabulary, as equal sizes do not make ids mean the
same, and what stood around its prompts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tlm_jax.checkpoints.formats.native import VOCABULARY_FILE
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import PAD_ID, Vocabulary


def trained_vocabulary_text(vocabulary: Vocabulary, reading: Reading) -> str:
    """Returns the content of vocabulary.json; null is a token that the vocabulary has not."""
    content = {
        "fingerprint": vocabulary.fingerprint,
        "size": vocabulary.size,
        "bos_id": vocabulary.bos_id if vocabulary.has_bos else None,
        "eos_id": vocabulary.eos_id,
        "pad_id": PAD_ID if vocabulary.zero_is_padding else None,
        "reading": dataclasses.asdict(reading),
    }
    return json.dumps(content, indent=1) + "\n"


def trained_fingerprint(content: bytes) -> str | None:
    """Returns the fingerprint in vocabulary.json; None where it cannot be read."""
    try:
        found = json.loads(content)
        return str(found["fingerprint"])
    except (ValueError, KeyError, TypeError):
        return None


def trained_reading(content: bytes) -> Reading | None:
    """Returns how training read examples; None where vocabulary.json, an earlier one, is silent."""
    try:
        found = json.loads(content)["reading"]
        start_id = found["start_id"]
        return Reading(
            None if start_id is None else int(start_id),
            bool(found["prompt_eos"]),
            bool(found["one_sequence"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def check_trained_with(directory: Path, model: Path, vocabulary: Vocabulary, remedy: str) -> None:
    """Refuses a vocabulary that nobody has named and that is not the one the model knows.

    Args:
      directory: holds vocabulary.json, if the model has one.
      model: what messages call it.
      vocabulary: that its ids would be read with.
      remedy: what to set.

    Raises:
      UserError: the model was trained with another.
    """
    file = directory / VOCABULARY_FILE
    if not file.is_file():
        return
    trained = trained_fingerprint(file.read_bytes())
    if trained not in (None, vocabulary.fingerprint):
        raise UserError(
            f"the model {model} was trained with another vocabulary than that of "
            f"{vocabulary.size} tokens that would be used here; {remedy}"
        )
