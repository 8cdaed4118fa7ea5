"""The bytes that each token of a vocabulary stands for, by which vocabularies are compared."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.vocabularies.base import PAD_ID, Vocabulary
from tlm_jax.vocabularies.byte import ByteVocabulary
from tlm_jax.vocabularies.hugging_face import HuggingFaceVocabulary
from tlm_jax.vocabularies.sentence_piece import SentencePieceVocabulary


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """What every token id adds to a text.

    The texts of a teacher's tokens outlive its tokenizer in a cache, and an API that gives texts
    and no ids is written down the same way.

    Attributes:
      pieces: UTF-8 bytes by token id, a leading space included where the token means one; empty
        for ids that stand for no text.
      special: the ids that stand for no text: padding, EOS, unknown, sentinels, gaps.
      eos_id: ends a sequence; None where that is not known.
      fingerprint: of the vocabulary; equal ones have equal pieces.
    """

    pieces: tuple[bytes, ...]
    special: frozenset[int]
    eos_id: int | None
    fingerprint: str

    def __post_init__(self) -> None:
        outside = [i for i in (*self.special, self.eos_id) if i is not None and i >= self.size]
        if outside:
            raise UserError(
                f"a token table of {self.size} pieces names the special id {outside[0]}; ids count "
                "from 0 and must have a piece each (empty for special ones)."
            )

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self.pieces)

    @functools.cached_property
    def texts(self) -> tuple[str, ...]:
        """The pieces as text; bytes that are no UTF-8 by themselves are written `\\xNN`."""
        return tuple(piece.decode("utf-8", errors="backslashreplace") for piece in self.pieces)


def token_table(vocabulary: Vocabulary) -> TokenTable:
    """Returns the bytes of every token of `vocabulary`.

    SentencePiece writes a space as `▁`, byte-level BPE writes every byte as a printable character
    (a space as `Ġ`), and Llama's tokenizers write bytes without a piece as `<0xNN>`; all become
    the bytes they mean.

    Raises:
      UserError: the pieces of such a vocabulary do not tell their text.
    """
    if not isinstance(vocabulary, _KINDS):
        raise UserError(
            f"cannot tell the bytes of the tokens of {vocabulary!r}: expected a byte, "
            "SentencePiece or Hugging Face vocabulary (`tlm_jax.vocabularies`)."
        )
    return _token_table(vocabulary, vocabulary.fingerprint)


_KINDS = (ByteVocabulary, SentencePieceVocabulary, HuggingFaceVocabulary)


@functools.lru_cache(maxsize=16)
def _token_table(
    vocabulary: ByteVocabulary | SentencePieceVocabulary | HuggingFaceVocabulary, fingerprint: str
) -> TokenTable:
    """Makes the table; vocabularies of one path are equal, so the fingerprint tells the content."""
    if isinstance(vocabulary, ByteVocabulary):
        pieces = [b""] * 3 + [bytes([b]) for b in range(256)] + [b""] * vocabulary.extra_ids
        special = {i for i, piece in enumerate(pieces) if not piece}
    elif isinstance(vocabulary, SentencePieceVocabulary):
        pieces, special = _of_sentencepiece(vocabulary.processor)
    else:
        pieces, special = _of_hugging_face(vocabulary)
    return TokenTable(
        pieces=tuple(pieces),
        special=frozenset(special),
        eos_id=vocabulary.eos_id,
        fingerprint=fingerprint,
    )


def read_sentencepiece(written: str) -> bytes:
    """Returns the bytes of a piece of SentencePiece, such as `▁Hello` or `<0x0A>`."""
    byte = _BYTE_PIECE.fullmatch(written)
    return bytes.fromhex(byte[1]) if byte else written.replace("▁", " ").encode()


_BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")
_SENTINEL = re.compile("▁?<extra_id_[0-9]+>")


def _of_sentencepiece(processor: Any) -> tuple[list[bytes], set[int]]:
    pieces, special = [], set()
    for i in range(processor.get_piece_size()):
        written = processor.id_to_piece(i)
        byte = _BYTE_PIECE.fullmatch(written) if processor.is_byte(i) else None
        if byte:
            pieces.append(bytes.fromhex(byte[1]))
        elif (
            processor.is_control(i)
            or processor.is_unknown(i)
            or processor.is_unused(i)
            or _SENTINEL.fullmatch(written)
        ):
            pieces.append(b"")
            special.add(i)
        else:
            pieces.append(written.replace("▁", " ").encode())
    return pieces, special


def _of_hugging_face(vocabulary: HuggingFaceVocabulary) -> tuple[list[bytes], set[int]]:
    tokenizer = vocabulary.tokenizer
    described = json.loads(tokenizer.to_str())
    special = {token["id"] for token in described["added_tokens"] if token["special"]}
    # Some files, Llama's rebuilt ones among them, mark no token as special. Id 0 is what stands
    # in for a start that a vocabulary does not have.
    special |= {vocabulary.eos_id} | ({vocabulary.bos_id} - {PAD_ID})
    if vocabulary.unk_id is not None:
        special.add(vocabulary.unk_id)
    read = _reader_of(described["decoder"], vocabulary.path)
    pieces = [b""] * vocabulary.size
    for written, i in tokenizer.get_vocab(with_added_tokens=True).items():
        if i not in special:
            pieces[i] = read(written)
    special |= {i for i, piece in enumerate(pieces) if not piece}
    return pieces, special


def _reader_of(decoder: dict[str, Any] | None, path: str) -> Callable[[str], bytes]:
    """Returns the function from a written piece to its bytes that a tokenizer's decoder implies."""
    steps = (decoder or {}).get("decoders", [decoder] if decoder else [])
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return read_byte_level
    spaces = [step["pattern"].get("String") for step in steps if step["type"] == "Replace"]
    spaces += [step.get("replacement", "▁") for step in steps if step["type"] == "Metaspace"]
    if not spaces or kinds & {"WordPiece", "BPEDecoder", "CTC"}:
        raise UserError(
            f"{path}: cannot tell which bytes its tokens stand for (its decoder is "
            f"{', '.join(sorted(kinds)) or 'absent'}); expected a byte-level or a "
            "SentencePiece-like tokenizer."
        )
    falls_back = "ByteFallback" in kinds

    def read(written: str) -> bytes:
        byte = _BYTE_PIECE.fullmatch(written) if falls_back else None
        if byte:
            return bytes.fromhex(byte[1])
        for space in spaces:
            written = written.replace(space, " ")
        return written.encode()

    return read


def read_byte_level(written: str) -> bytes:
    """Returns the bytes of a piece of byte-level BPE, such as `ĠHello`."""
    alphabet = _byte_alphabet()
    try:
        return bytes(alphabet[character] for character in written)
    except KeyError:  # a token put in by hand, written as it is
        return written.encode()


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """GPT-2's: printable bytes are themselves, the others get characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(0x100 + n): byte for n, byte in enumerate(others)},
    }
