"""Reads what a training run has written about its steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def training_metrics(model_dir: str | Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl that are of training steps."""
    lines = Path(model_dir, "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == "train"]
