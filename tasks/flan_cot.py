"""The chain-of-thought part of the FLAN collection (Longpre et al. 2023), one task a data set.

Its questions keep FLAN's instruction wording. It repeats other training sets (see
tasks/mixtures.py); each part has a validation split of its own, 5 % by hash.
"""

import functools
from pathlib import Path

from tlm_jax.data.file_records import file_records, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.collections import FlanKind, read_flan

KINDS: dict[str, FlanKind] = {
    "aqua": "choice",
    "creak": "boolean",
    "ecqa": "choice",
    "gsm8k": "numeric",
    "qasc": "choice",
    "sensemaking": "choice",
    "strategyqa": "boolean",
}


def _read(name: str, kind: FlanKind, path: Path):
    return read_flan(path, name, kind)


for _name, _kind in KINDS.items():
    _file = f"{_name}_train.tsv"
    _reader = functools.partial(_read, _name, _kind)
    register_formats(
        f"flan_cot_{_name}",
        file_records(
            f"flan_cot_{_name}",
            "the GitHub project google-research/FLAN, folder flan/v2/cot_data",
            {
                "train": [
                    uniform(f"flan_cot_{_name}_train"),
                    (f"flan/v2/cot_data/{_file}", _reader),
                    (f"cot_data/{_file}", _reader),
                ]
            },
            hold_out_validation=True,
        ),
        description=f"FLAN's chain-of-thought version of {_name}",
    )
