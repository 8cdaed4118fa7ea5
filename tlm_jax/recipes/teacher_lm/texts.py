"""Files of records as tasks of one run: their sequences, and their questions by letters."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tlm_jax.data.formatted import EMBEDDED_VOCABULARY
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import read_records
from tlm_jax.data.tasks import is_registered, register_task
from tlm_jax.data.teacher_lm.lines import Layout
from tlm_jax.data.teacher_lm.tasks import Learned, StudentSequences

SPLIT = "train"
"""The only split of such a task."""


def source_of(path: Path, form: str, learned: Learned, layout: Layout) -> StudentSequences:
    """Returns the sequences of a file's records."""
    records = LoadedRecords(path.stem, {SPLIT: lambda _: read_records(path)})
    return StudentSequences(records, form, learned, layout)


def registered_task(path: Path, form: str, learned: Learned, layout: Layout) -> str:
    """Registers them, once, and returns the name of the task."""
    digest = hashlib.sha256(repr((str(path), form, learned, layout)).encode()).hexdigest()[:10]
    name = f"teacher_lm_{digest}_{path.stem}_{form}"
    if not is_registered(name):
        whole = learned == "whole"
        register_task(
            name,
            source_of(path, form, learned, layout),
            features=("targets",) if whole else ("inputs", "targets"),
            vocabulary=EMBEDDED_VOCABULARY,
            eos_features=("inputs", "targets") if learned == "pairs" else ("targets",),
        )
    return name
