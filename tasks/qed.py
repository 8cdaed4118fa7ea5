"""QED: questions answered from a passage, with the sentence that supports (Lamm et al. 2021)."""

from dataclasses import replace

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_qed
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record

_QUESTIONS = file_records(
    "qed",
    "the GitHub project google-research-datasets/QED",
    {
        split: [
            uniform(f"qed_{published}"),
            *official(
                read_qed, published, f"qed/qed-{published}.jsonlines", f"qed-{published}.jsonlines"
            ),
        ]
        for split, published in (("train", "train"), ("validation", "dev"))
    },
)


def _with_passage(record: Record) -> Record:
    """Puts the passage in front of the question, which cannot be answered without it."""
    passage = record.meta["passage"]
    return replace(record, question=f"{passage}\nQuestion: {record.question}")


RECORDS = LoadedRecords(
    "qed",
    {
        split: lambda data, s=split: [_with_passage(r) for r in _QUESTIONS.records(s, data)]
        for split in _QUESTIONS.splits
    },
)

register_formats("qed", RECORDS, description="A question about a passage")
