"""CREAK: claims about entities, true or not, with explanations (Onoe et al. 2021)."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_creak

_FILES = {"train": "train", "validation": "dev", "contrast": "contrast_set"}
_UNIFORM = {"train": "creak_train", "validation": "creak_dev", "contrast": "creak_contrast"}

RECORDS = file_records(
    "creak",
    "the GitHub project yasumasaonoe/creak, folder data/creak",
    {
        split: [
            uniform(_UNIFORM[split]),
            *official(read_creak, split, f"creak/{published}.json", f"data/creak/{published}.json"),
        ]
        for split, published in _FILES.items()
    },
    unreadable={"test": "its labels are not public; use validation."},
)

register_formats("creak", RECORDS, description="Is the claim true?")
