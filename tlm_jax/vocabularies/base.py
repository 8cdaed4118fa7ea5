"""The vocabulary's interface, which all of them have."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tlm_jax.errors import UserError, nearest, system_reason
from tlm_jax.system import git_lfs
from tlm_jax.system.home import expanded

PAD_ID = 0
"""Fills rows after their last token, in every vocabulary, as in SeqIO and T5X."""


class Vocabulary(abc.ABC):
    """Encodes text as token ids and back.

    Subclasses are frozen dataclasses of plain values, so gin can build them and two equal ones
    compare equal. Files are read once, on first use: what they hold later is for an instance made
    later. What is made of one content is shared by the instances that read it.
    """

    def fresh(self) -> Vocabulary:
        """Returns an equal vocabulary that has not read its files yet.

        For one that outlives a run, such as a registered task's: each run reads what is there.
        """
        return dataclasses.replace(self) if dataclasses.is_dataclass(self) else self

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
        """What the decoder reads first: BOS; without one, padding where that is id 0, else EOS."""
        return PAD_ID if self.zero_is_padding else self.eos_id

    @property
    def has_bos(self) -> bool:
        """Whether `bos_id` is a token for it, and not another in its place."""
        return False

    @property
    def adds_bos(self) -> bool:
        """Whether a text is encoded with BOS before it where nothing else is said."""
        return self.has_bos

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

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Returns the text of `ids` up to the first EOS; ids beyond the vocabulary become UNK."""
        eos, size, unknown = self.eos_id, self.size, self.unk_id
        kept = []
        for token_id in ids:
            if token_id == eos:
                break
            if token_id < size:
                kept.append(int(token_id))
            elif unknown is not None:
                kept.append(unknown)
        return self.decode_text(kept)


def vocabulary_file(path: str) -> Path:
    """Returns the file that `path` names, where `asset:NAME` is one that comes with the library.

    Raises:
      UserError: the library has no such file.
    """
    if not path.startswith("asset:"):
        return expanded(path)
    assets = Path(__file__).parents[0] / "assets"
    file = assets / (path.removeprefix("asset:") + ".model")
    if not file.is_file():
        known = [f"asset:{asset.stem}" for asset in sorted(assets.glob("*.model"))]
        raise UserError(
            f"no vocabulary {path!r} comes with the library.{nearest(path, known)} "
            f"There is {', '.join(known) or 'none'}."
        )
    return file


def read_vocabulary_file(path: str) -> bytes:
    """Returns the contents of `vocabulary_file(path)`, or UserError where it cannot be read."""
    try:
        content = vocabulary_file(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the vocabulary file {path!r}: {system_reason(error)}; give the path of a "
            "SentencePiece '.model' or a Hugging Face 'tokenizer.json'."
        ) from error
    git_lfs.refuse_pointer(content, path)
    return content


def digest(*parts: bytes) -> str:
    """Returns a short hash of `parts`."""
    joined = b"\0".join(hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(joined).hexdigest()[:16]
