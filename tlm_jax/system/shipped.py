"""Folders that come with the library and are no part of its package: tasks and gin files."""

from __future__ import annotations

from pathlib import Path


def shipped_folder(name: str) -> Path:
    """Returns the folder `name`: of a wheel in tlm_jax/shipped, of a checkout at its top."""
    package = Path(__file__).parents[1]
    installed = package / "shipped" / name
    return installed if installed.is_dir() else package.parent / name
