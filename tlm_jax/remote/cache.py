"""Keeps a server's answers on disk, so that no answer is paid for twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError, system_reason


class ResponseCache:
    """One file an answer, named by a hash of the server's address and the whole request.

    Files appear whole or not at all. One that cannot be read, or is of another request, counts as
    absent and is written anew. Several processes may share a directory. What a file says of the
    request is what its reader is told, `written`: a request that quotes a secret is not written.
    """

    def __init__(self, directory: Path):
        """Uses `directory`, which is made when the first answer is kept."""
        self._directory = directory

    def get(self, url: str, payload: Mapping[str, Any], written: Any = None) -> Any:
        """Returns the JSON answer kept for a request, or None.

        Args:
          url: of the server.
          payload: the request as it is sent.
          written: the request as it is written down; None: as it is sent.
        """
        try:
            kept = json.loads(self._path(url, payload).read_bytes())
            same = kept["url"] == url and kept["request"] == (written or payload)
            return kept["response"] if same else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def put(self, url: str, payload: Mapping[str, Any], response: Any, written: Any = None) -> None:
        """Keeps an answer; arguments as of `get`.

        Raises:
          UserError: it cannot be written.
        """
        path = self._path(url, payload)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        kept = {"url": url, "request": written or payload, "response": response}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(kept), encoding="ascii")
            unfinished.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                unfinished.unlink(missing_ok=True)
            raise UserError(
                f"the response cache {self._directory} cannot be written "
                f"({system_reason(error)}); free some space, or choose another "
                "RESPONSE_CACHE_DIR. The same command goes on from here."
            ) from error

    def _path(self, url: str, payload: Mapping[str, Any]) -> Path:
        text = json.dumps([url, payload], sort_keys=True, ensure_ascii=True)
        name = hashlib.sha256(text.encode("ascii")).hexdigest()
        return self._directory / name[:2] / f"{name}.json"
