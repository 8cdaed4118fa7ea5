"""Sense making: which of two statements is against common sense (Wang et al. 2020)."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_sensemaking

RECORDS = file_records(
    "sensemaking",
    "the GitHub project wangcunxiang/SemEval2020-Task4-Commonsense-Validation-and-Explanation, "
    "folder 'ALL data' (FLAN's part of it is flan_cot_sensemaking)",
    {
        split: [
            uniform(f"sensemaking_{published}"),
            *official(
                read_sensemaking,
                published,
                f"sensemaking/{published}.csv",
                f"ALL data/{published}.csv",
            ),
        ]
        for split, published in (("train", "train"), ("validation", "dev"), ("test", "test"))
    },
)

register_formats("sensemaking", RECORDS, description="Which statement makes no sense?")
