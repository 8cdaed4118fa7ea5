"""SVAMP, ASDiv and MultiArith: arithmetic word problems that are only ever tested on.

They have no rationales; demonstrations come from GSM8K, as in FlanT5 specialization.
"""

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.file_records import Candidate, file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.math import read_asdiv, read_multiarith, read_svamp
from tlm_jax.data.record_sets import LoadedRecords

from .gsm8k import RECORDS as GSM8K

TEST_ONLY = "it is for evaluation only. Train on gsm8k, aqua or word_problems."


def _register(name: str, title: str, origin: str, candidates: list[Candidate]) -> LoadedRecords:
    records = file_records(
        name,
        origin,
        {"test": [uniform(name), *candidates]},
        unreadable={"train": TEST_ONLY, "validation": TEST_ONLY},
    )
    register_formats(name, records, pool=DemonstrationPool(GSM8K), description=title)
    return records


SVAMP = _register(
    "svamp",
    "Arithmetic with varied wording (Patel et al. 2021)",
    "the GitHub project arkilpatel/SVAMP",
    official(read_svamp, "test", "SVAMP.json", "svamp/SVAMP.json"),
)
ASDIV = _register(
    "asdiv",
    "Arithmetic of many types (Miao et al. 2020; CC BY-NC 4.0)",
    "the GitHub project chaochun/nlu-asdiv-dataset, folder dataset",
    official(read_asdiv, "test", "ASDiv.xml", "asdiv/ASDiv.xml", "dataset/ASDiv.xml"),
)
_register(
    "multiarith",
    "Arithmetic of several steps (Roy and Roth 2015)",
    "the GitHub project kojima-takeshi188/zero_shot_cot, folder dataset/MultiArith",
    official(
        read_multiarith,
        "test",
        "MultiArith.json",
        "multiarith/MultiArith.json",
        "dataset/MultiArith/MultiArith.json",
    ),
)
