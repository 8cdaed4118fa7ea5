"""Keeps the teacher's token table beside its rows, for tokenizers do not outlive APIs."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.whole_files import write_whole
from tlm_jax.vocabularies.token_bytes import TokenTable

FILE_NAME = "tokens.json.gz"


def write_tokens(directory: Path, table: TokenTable) -> None:
    """Writes the table, or does nothing where an equal one lies; a table may only grow.

    Raises:
      UserError: another vocabulary's table lies there.
    """
    path = directory / FILE_NAME
    if path.exists():
        present = read_tokens(directory)
        if present == table:
            return
        assert present is not None
        if table.pieces[: present.size] != present.pieces:
            raise UserError(
                f"{path}: the cache holds tokens of another vocabulary (fingerprint "
                f"{present.fingerprint!r}, now {table.fingerprint!r}); use another directory."
            )
    content = {
        # Each byte as the character of that number, so that any bytes are JSON.
        "pieces": [piece.decode("latin-1") for piece in table.pieces],
        "special": sorted(table.special),
        "eos_id": table.eos_id,
        "fingerprint": table.fingerprint,
    }
    write_whole(path, gzip.compress(json.dumps(content).encode(), mtime=0))


def read_tokens(directory: Path) -> TokenTable | None:
    """Returns the table that lies there, None if there is none.

    Raises:
      UserError: it is damaged.
    """
    path = directory / FILE_NAME
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        return TokenTable(
            pieces=tuple(piece.encode("latin-1") for piece in content["pieces"]),
            special=frozenset(content["special"]),
            eos_id=content["eos_id"],
            fingerprint=content["fingerprint"],
        )
    except FileNotFoundError:
        return None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); write it again from the tokenizer.") from error
