"""GSM8K: grade-school arithmetic with human rationales (Cobbe et al. 2021)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.files import read_json
from tlm_jax.data.official.math import read_gsm8k
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.data.run_data import RunData
from tlm_jax.data.tfds.records import tfds_records
from tlm_jax.errors import UserError

ORIGIN = "the GitHub project openai/grade-school-math, folder grade_school_math/data"


def _files(split: str) -> list[str]:
    return [f"gsm8k/{split}.jsonl", f"grade_school_math/data/{split}.jsonl"]


_FROM_FILES = file_records(
    "gsm8k",
    ORIGIN,
    {
        "train": [uniform("gsm8k_train"), *official(read_gsm8k, "train", *_files("train"))],
        "test": [uniform("gsm8k_test"), *official(read_gsm8k, "test", *_files("test"))],
    },
    hold_out_validation=True,
)


def _flant5_rows(develop: bool, data: RunData) -> Sequence[Record]:
    """Returns the 200 rows that FlanT5 specialization develops on, or the other 7,273."""
    indices = _flant5_indices(data)
    records = _FROM_FILES.records("train_full", data)
    if max(indices) >= len(records):
        raise UserError(f"gsm8k: the development indices go beyond the {len(records)} train rows.")
    return [r for i, r in enumerate(records) if (i in indices) == develop]


def _flant5_indices(data: RunData) -> set[int]:
    name, path = data.find_file(
        "gsm8k, the 200 development rows of FlanT5 specialization",
        ["flant5_prompts.jsonl", "gsm8k_validation_index.json"],
        "the GitHub project FranxYao/FlanT5-CoT-Specialization, folder lib_prompt, "
        "its validation_index.npy written as a JSON list",
    )
    if name.endswith(".json"):
        return set(read_json(path, list))
    for _, row in read_json_lines(path):
        if row.get("name") == "gsm8k_validation_index":
            return set(json.loads(row["text"]))
    raise UserError(f"{path}: no row is named gsm8k_validation_index.")


RECORDS = LoadedRecords(
    "gsm8k",
    {
        **{
            split: lambda data, s=split: _FROM_FILES.records(s, data)
            for split in _FROM_FILES.splits
        },
        "train_flant5": lambda data: _flant5_rows(False, data),
        "validation_flant5": lambda data: _flant5_rows(True, data),
    },
)

register_formats("gsm8k", RECORDS, description="Grade-school arithmetic")
register_formats(
    "gsm8k_tfds",
    tfds_records("gsm8k", {"train": "train", "test": "test"}),
    description="Grade-school arithmetic, from TFDS",
)
