"""QASC: science questions answered by joining two facts, eight options (Khot et al. 2020)."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_qasc
from tlm_jax.data.tfds.records import tfds_records


def _files(split: str) -> list[str]:
    return [f"qasc/{split}.jsonl", f"QASC_Dataset/{split}.jsonl"]


RECORDS = file_records(
    "qasc",
    "the Allen Institute for AI, QASC_Dataset.tar.gz (FLAN's part of it is flan_cot_qasc)",
    {
        "train": [uniform("qasc_train"), *official(read_qasc, "train", *_files("train"))],
        "validation": [uniform("qasc_dev"), *official(read_qasc, "dev", *_files("dev"))],
    },
    unreadable={"test": "its labels are not public; use validation."},
)

register_formats("qasc", RECORDS, description="Science questions, eight options")
register_formats(
    "qasc_tfds",
    tfds_records("qasc", {"train": "train", "validation": "validation"}),
    description="Science questions, eight options, from TFDS",
)
