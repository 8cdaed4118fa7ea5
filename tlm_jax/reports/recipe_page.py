"""The page of a recipe, which grows with its loops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def render(results: Mapping[str, Any], directory: Path) -> str:
    """Returns the page."""
    return ""
