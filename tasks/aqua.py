"""AQuA-RAT: algebra questions with five options and rationales (Ling et al. 2017)."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.collections import read_aqua


def _files(split: str) -> list[str]:
    return [f"aqua/{split}.json", f"AQuA/{split}.json"]


RECORDS = file_records(
    "aqua",
    "the GitHub project google-deepmind/AQuA (FLAN's part of it is flan_cot_aqua)",
    {
        split: [uniform(f"aqua_{published}"), *official(read_aqua, published, *_files(published))]
        for split, published in (("train", "train"), ("validation", "dev"), ("test", "test"))
    },
)

register_formats("aqua", RECORDS, description="Algebra, five options")
