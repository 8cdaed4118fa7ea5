"""Text to token ids: bytes, SentencePiece and Hugging Face vocabularies, without TensorFlow.

The ids equal those of SeqIO's vocabularies; `tlm_jax.data.seqio_bridge.as_seqio_vocabulary` gives
any of these as a `seqio.Vocabulary`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax.types import UserError, nearest

PAD_ID = 0
"""Fills rows after their last token, in every vocabulary, as in SeqIO and T5X."""


class Vocabulary(abc.ABC):
    """Encodes text as token ids and back.

    Subclasses are frozen dataclasses of plain values, so gin can build them and two equal ones
    compare equal; files are read on first use and shared by equal instances.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of ids, extra ids included; an embedding needs at least as many rows."""

    @property
    @abc.abstractmethod
    def eos_id(self) -> int:
        """Ends a sequence."""

    @property
    def bos_id(self) -> int:
        """What the decoder reads first; the padding id unless the vocabulary has a BOS."""
        return PAD_ID

    @property
    @abc.abstractmethod
    def unk_id(self) -> int | None:
        """Stands for what the vocabulary cannot express; None if there is no such thing."""

    @property
    @abc.abstractmethod
    def zero_is_padding(self) -> bool:
        """Whether id 0 never stands for text, so that padding can be told by `id == 0`."""

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A hash of everything that decides the ids, the same on every machine."""

    @abc.abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the int32 ids of each text, without BOS and EOS."""

    @abc.abstractmethod
    def decode_text(self, ids: list[int]) -> str:
        """Returns the text of ids that are all within the vocabulary, special ids left out."""

    @abc.abstractmethod
    def piece(self, token_id: int) -> str:
        """Returns how one id is written, for people to read."""

    def encode(self, text: str) -> np.ndarray:
        """Returns the int32 ids of `text`, without BOS and EOS."""
        return self.encode_batch([text])[0]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids` up to the first EOS; ids beyond the vocabulary become UNK."""
        kept = []
        for token_id in ids:
            if token_id == self.eos_id:
                break
            if token_id < self.size:
                kept.append(int(token_id))
            elif self.unk_id is not None:
                kept.append(self.unk_id)
        return self.decode_text(kept)


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
        return _digest(b"bytes", str(self.extra_ids).encode())

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
        return _load_sentencepiece(self.path, self.extra_ids)[0]

    @property
    def model_bytes(self) -> bytes:
        """The serialized model, extra ids added."""
        return _load_sentencepiece(self.path, self.extra_ids)[1]

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
        return max(self.processor.bos_id(), PAD_ID)

    @property
    def unk_id(self) -> int | None:
        return self.processor.unk_id()

    @property
    def zero_is_padding(self) -> bool:
        return self.processor.pad_id() == PAD_ID

    @property
    def fingerprint(self) -> str:
        return _digest(b"sentencepiece", self.model_bytes)

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


@dataclasses.dataclass(frozen=True)
class HuggingFaceVocabulary(Vocabulary):
    """A Hugging Face `tokenizer.json`, read by the `tokenizers` library.

    Special tokens not given are taken from a `tokenizer_config.json` in the same folder, else
    from the names in common use.

    Attributes:
      path: the `tokenizer.json` file.
      eos_token: how the end of a sequence is written, such as `</s>`.
      bos_token: how its start is written; padding starts a decoder where there is none.
      unk_token: how the inexpressible is written, if it is.
    """

    path: str
    eos_token: str | None = None
    bos_token: str | None = None
    unk_token: str | None = None

    @property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`, without truncation and padding."""
        return _load_tokenizer(self.path)[0]

    @property
    def size(self) -> int:
        # Not the count of pieces: ids may have gaps, and an embedding must hold the largest.
        return _load_tokenizer(self.path)[1]

    @property
    def eos_id(self) -> int:
        found = self._special("eos", self.eos_token)
        if found is None:
            raise UserError(
                f"{self.path}: cannot tell which token ends a sequence; set eos_token to one of "
                "its tokens, such as '</s>'."
            )
        return found

    @property
    def bos_id(self) -> int:
        found = self._special("bos", self.bos_token)
        return PAD_ID if found is None else found

    @property
    def unk_id(self) -> int | None:
        return self._special("unk", self.unk_token)

    @property
    def zero_is_padding(self) -> bool:
        return self._special("pad", None) == PAD_ID and self.eos_id != PAD_ID

    @property
    def fingerprint(self) -> str:
        ids = f"{self.eos_id} {self.bos_id} {self.unk_id}"
        return _digest(b"huggingface", _read_file(self.path), ids.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encoded]

    def decode_text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def piece(self, token_id: int) -> str:
        return self.tokenizer.id_to_token(token_id) or f"<{token_id}?>"

    def _special(self, role: str, given: str | None) -> int | None:
        """Returns the id of the token that plays `role`: as given, configured, or customary."""
        if given is not None:
            found = self.tokenizer.token_to_id(given)
            if found is None:
                known = self.tokenizer.get_vocab()
                raise UserError(
                    f"{self.path} has no token {given!r} (given as {role}_token)."
                    + nearest(given, known)
                )
            return found
        configured = _read_tokenizer_config(self.path).get(f"{role}_token")
        if isinstance(configured, dict):
            configured = configured.get("content")
        if configured is not None:
            return self.tokenizer.token_to_id(configured)
        ids = (self.tokenizer.token_to_id(token) for token in _CUSTOMARY_TOKENS[role])
        return next((i for i in ids if i is not None), None)


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


_CUSTOMARY_TOKENS = {
    "eos": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "[SEP]"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "[CLS]"),
    "unk": ("<unk>", "[UNK]"),
    "pad": ("<pad>", "[PAD]"),
}


@functools.lru_cache(maxsize=16)
def _load_sentencepiece(path: str, extra_ids: int) -> tuple[Any, bytes]:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    model_bytes = _read_file(path)
    processor = sentencepiece.SentencePieceProcessor()
    try:
        if extra_ids:
            model_proto: Any = vars(proto)["ModelProto"]  # made at run time, unknown to checkers
            model = model_proto.FromString(model_bytes)
            piece_type = model_proto.SentencePiece.USER_DEFINED
            for i in reversed(range(extra_ids)):
                model.pieces.add(piece=f"▁<extra_id_{i}>", score=0.0, type=piece_type)
            model_bytes = model.SerializeToString()
        processor.LoadFromSerializedProto(model_bytes)
    except Exception as error:
        raise UserError(f"{path} is not a SentencePiece model: {error}") from error
    return processor, model_bytes


@functools.lru_cache(maxsize=16)
def _load_tokenizer(path: str) -> tuple[Any, int]:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_str(_read_file(path).decode("utf-8"))
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a Hugging Face tokenizer.json: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())


@functools.lru_cache(maxsize=16)
def _read_tokenizer_config(path: str) -> dict[str, Any]:
    config = Path(path).expanduser().with_name("tokenizer_config.json")
    return json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}


def _read_file(path: str) -> bytes:
    if path.startswith("asset:"):
        assets = Path(__file__).parent / "assets"
        file = assets / (path.removeprefix("asset:") + ".model")
        if not file.is_file():
            known = [asset.stem for asset in sorted(assets.glob("*.model"))]
            raise UserError(
                f"no vocabulary {path!r} comes with the library; there is "
                f"{', '.join('asset:' + stem for stem in known) or 'none'}."
            )
        return file.read_bytes()
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the vocabulary file {path!r}: {error.strerror}; give the path of a "
            "SentencePiece '.model' or a Hugging Face 'tokenizer.json'."
        ) from error


def _digest(*parts: bytes) -> str:
    joined = b"\0".join(hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(joined).hexdigest()[:16]
