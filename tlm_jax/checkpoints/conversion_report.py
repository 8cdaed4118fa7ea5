"""Writes conversion.json: what a conversion read and wrote, with sizes and checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tlm_jax.checkpoints import lock, manifest
from tlm_jax.checkpoints.pretrained import REPORT_FILE, Pretrained


def write_report(
    source: Pretrained,
    directory: Path,
    *,
    to: str,
    architecture: str,
    num_params: int,
    num_bytes: int,
) -> None:
    """Writes the file beside what was written.

    Args:
      source: the model.
      directory: what was written, all of it.
      to: its format.
      architecture: in the words of the format.
      num_params: parameters of the model.
      num_bytes: of them.
    """
    found = (path for path in directory.rglob("*") if path.is_file())
    paths = sorted(path for path in found if path != directory / lock.FILE_NAME)
    content = {
        "tlm_jax": metadata.version("tlm_jax"),
        "from": {
            "path": str(source.path),
            "format": source.source_format,
            "files": _specs({str(path): path for path in source.files}),
        },
        "to": {
            "format": to,
            "architecture": architecture,
            "files": _specs({path.relative_to(directory).as_posix(): path for path in paths}),
        },
        **_of_state(source, to),
        "num_params": num_params,
        "num_bytes": num_bytes,
    }
    text = json.dumps(content, indent=1) + "\n"
    (directory / REPORT_FILE).write_text(text, encoding="utf-8")


def _of_state(source: Pretrained, to: str) -> dict[str, str | float | None]:
    """Returns what goes on from the optimizer's state has to know, where one was written."""
    written = to == "t5x" and source.optimizer
    return {"loss_normalization": source.loss_normalization} if written else {}


def _specs(paths: Mapping[str, Path]) -> dict[str, dict[str, int | None]]:
    specs = manifest.file_specs(list(paths.values()), checksums=True)
    return {
        name: {"size_bytes": spec.size_bytes, "crc32": spec.crc32}
        for name, spec in zip(paths, specs)
    }
