"""Records from data sets that TensorFlow Datasets has prepared on disk; nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tlm_jax.data.official.commonsense import ENTAILMENT_LABELS, esnli_record, qasc_record
from tlm_jax.data.official.files import field, letter_of
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import ENVIRONMENT_VARIABLE, RunData
from tlm_jax.errors import UserError

Row = Mapping[str, Any]
"""One example as NumPy gives it, with text decoded."""


def tfds_records(builder: str, splits: Mapping[str, str]) -> LoadedRecords:
    """Returns the records of a prepared TFDS data set.

    The prepared files are looked for in the data directory, below it in `tensorflow_datasets`, and
    where TFDS keeps them by default.

    Args:
      builder: 'gsm8k', 'qasc', 'esnli' or 'cos_e'.
      splits: by our name of a split, TFDS's name of it.
    """
    loaders = {
        split: functools.partial(_load, builder, split, tfds_split)
        for split, tfds_split in splits.items()
    }
    return LoadedRecords(f"{builder} (TFDS)", loaders)


def gsm8k_row(row: Row, split: str) -> Record:
    """Returns the record of `{question, answer, annotation, short_answer}`."""
    name = hashlib.sha256(row["question"].encode()).hexdigest()[:16]
    return Record(
        id=f"gsm8k-{split}-{name}",
        dataset="gsm8k",
        split=split,
        kind="numeric",
        question=row["question"].strip(),
        options=None,
        answer=row["short_answer"].strip().replace(",", ""),
        rationale=row["annotation"].strip(),
        meta={"answer_raw": row["short_answer"].strip()},
    )


def qasc_row(row: Row, split: str) -> Record:
    """Returns the record of a QASC row, whose choices are lists of texts and labels."""
    labelled = sorted(zip(row["choices"]["label"], row["choices"]["text"], strict=True))
    return qasc_record(
        row,
        question=row["question"],
        options=tuple(text for _, text in labelled),
        split=split,
        where="qasc (TFDS)",
    )


def esnli_row(row: Row, split: str) -> Record:
    """Returns the record of an e-SNLI row; the label is a number."""
    premise, hypothesis = row["premise"], row["hypothesis"]
    name = hashlib.sha256(f"{premise}\n{hypothesis}".encode()).hexdigest()[:16]
    return esnli_record(
        name=f"esnli-{split}-{name}",
        split=split,
        premise=premise,
        hypothesis=hypothesis,
        label=ENTAILMENT_LABELS[int(row["label"])],
        explanations=[row[f"explanation_{i}"] for i in (1, 2, 3)],
    )


def cos_e_row(row: Row, split: str) -> Record:
    """Returns the record of a CoS-E row: a CommonsenseQA question with a person's explanation."""
    options = tuple(row["choices"])
    return Record(
        id=row["id"],
        dataset="cos_e",
        split=split,
        kind="choice",
        question=row["question"],
        options=options,
        answer=letter_of(row["answer"], options, f"cos_e {row['id']}"),
        rationale=row["abstractive_explanation"].strip() or None,
        meta={"extractive_explanation": row["extractive_explanation"]},
    )


_CONVERSIONS: dict[str, Callable[[Row, str], Record]] = {
    "gsm8k": gsm8k_row,
    "qasc": qasc_row,
    "esnli": esnli_row,
    "cos_e": cos_e_row,
}

BUILDERS = tuple(_CONVERSIONS)
"""The TFDS data sets that can be read."""


def _load(builder: str, split: str, tfds_split: str, data: RunData) -> Iterator[Record]:
    import tensorflow_datasets as tfds

    convert = _CONVERSIONS[builder]
    directory = _prepared_directory(builder, data.data_dir)
    if directory is None:
        prepared: Any = tfds.builder(builder)
        missing = not prepared.data_path.exists()
    else:
        prepared = tfds.builder_from_directory(directory)
        missing = tfds_split not in prepared.info.splits
    if missing:
        raise UserError(
            f"{builder}, split {split!r}: TensorFlow Datasets has not prepared it. Run "
            f"`scripts/prepare_tfds {builder} --data_dir=DIR` where its files can be downloaded, "
            "or with --downloaded=FOLDER on those already downloaded, and set DATA_DIR or "
            f"{ENVIRONMENT_VARIABLE} to DIR."
        )
    rows = tfds.as_numpy(prepared.as_dataset(split=tfds_split, shuffle_files=False))
    for row in rows:
        decoded = _decoded(row)
        field(decoded, "question" if "question" in decoded else "premise", f"{builder} (TFDS)")
        yield convert(decoded, split)


def _prepared_directory(builder: str, named: Path | None) -> Path | None:
    """Returns the newest prepared version below the data directory, or None."""
    if named is None:
        return None
    for parent in (named / "tensorflow_datasets" / builder, named / builder):
        found = [info.parent for info in parent.rglob("dataset_info.json")]
        # What is being prepared, or was cut off, lies in a folder `1.0.0.incompleteXXXX`.
        versions = [path for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
        if versions:
            return max(versions, key=lambda path: [int(part) for part in path.name.split(".")])
    return None


def _decoded(value: Any) -> Any:
    """Returns the value with bytes as text and arrays as lists."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, Mapping):
        return {name: _decoded(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        return _decoded(value.tolist())
    return [_decoded(item) for item in value] if isinstance(value, list) else value
