"""CommonsenseQA, random split 1.11 (Talmor et al. 2019): five options, no rationales."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_commonsenseqa
from tlm_jax.data.tfds.records import tfds_records


def _files(split: str) -> list[str]:
    name = f"{split}_rand_split.jsonl"
    return [f"commonsenseqa/{name}", name]


RECORDS = file_records(
    "commonsenseqa",
    "the GitHub project ezelikman/STaR, folder commonsenseqa",
    {
        "train": [
            uniform("commonsenseqa_train"),
            *official(read_commonsenseqa, "train", *_files("train")),
        ],
        "validation": [
            uniform("commonsenseqa_dev"),
            *official(read_commonsenseqa, "dev", *_files("dev")),
        ],
    },
    unreadable={"test": "its labels are not public; use validation."},
)

register_formats("commonsenseqa", RECORDS, description="Commonsense questions, five options")
register_formats(
    "cos_e",
    tfds_records("cos_e", {"train": "train", "validation": "validation"}),
    description="CommonsenseQA with people's explanations, from TFDS",
)
