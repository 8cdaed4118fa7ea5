"""Writes files of JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    """Writes a line for each row; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
