"""ECQA: CommonsenseQA with explanations for and against (Aggarwal et al. 2021).

The uniform file of the test split is TeacherLM's; its 2,194 questions lie in CommonsenseQA's train
and development splits, so do not report a score on either set after training on the other.
"""

import functools

from tlm_jax.data.file_records import Candidate, file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.collections import read_arrow
from tlm_jax.data.official.commonsense import read_ecqa

_READ_ARROW = functools.partial(read_arrow, name="ecqa")


def _candidates(split: str) -> list[Candidate]:
    csv = f"cqa_data_{split}.csv"
    return [
        uniform(f"ecqa_{split}"),
        *official(read_ecqa, split, f"ecqa/{csv}", csv, f"ECQA-Dataset/{csv}"),
    ]


RECORDS = file_records(
    "ecqa",
    "the GitHub project dair-iitd/ECQA-Dataset, whose generate_data.py makes these files "
    "(FLAN's part of it is flan_cot_ecqa)",
    {
        "train": _candidates("train"),
        "validation": _candidates("val"),
        "test": [
            *_candidates("test"),
            uniform("teacherlm_eval_ecqa"),
            *official(_READ_ARROW, "test", "ecqa/dataset.arrow", "lm_eval/datasets/ecqa"),
        ],
    },
)

register_formats("ecqa", RECORDS, description="CommonsenseQA with explanations")
