"""StrategyQA: yes-or-no questions whose steps are implicit (Geva et al. 2021)."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_strategyqa


def _files(split: str) -> list[str]:
    return [f"strategyqa/{split}.json", f"data/strategyqa/{split}.json"]


RECORDS = file_records(
    "strategyqa",
    "the GitHub project eladsegal/strategyqa, folder data/strategyqa",
    {
        "train": [
            uniform("strategyqa_train"),
            *official(read_strategyqa, "train", *_files("train")),
        ],
        "validation": [
            uniform("strategyqa_dev"),
            *official(read_strategyqa, "dev", *_files("dev")),
        ],
    },
    unreadable={"test": "its labels are not public; use validation."},
)

register_formats("strategyqa", RECORDS, description="Yes or no, with implicit steps")
