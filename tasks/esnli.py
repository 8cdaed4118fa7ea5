"""e-SNLI: entailment with people's explanations (Camburu et al. 2018)."""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.commonsense import read_esnli, read_esnli_train
from tlm_jax.data.tfds.records import tfds_records


def _files(name: str) -> list[str]:
    return [f"esnli/{name}.csv", f"e-SNLI/dataset/{name}.csv", f"{name}.csv"]


RECORDS = file_records(
    "esnli",
    "the GitHub project OanaMariaCamburu/e-SNLI, folder dataset",
    {
        "train": [
            uniform("esnli_train"),
            *official(read_esnli_train, "train", *_files("esnli_train_1")),
        ],
        "validation": [uniform("esnli_dev"), *official(read_esnli, "dev", *_files("esnli_dev"))],
        "test": [uniform("esnli_test"), *official(read_esnli, "test", *_files("esnli_test"))],
    },
)

register_formats("esnli", RECORDS, description="Entailment, neutral or contradiction")
register_formats(
    "esnli_tfds",
    tfds_records("esnli", {"train": "train", "validation": "validation", "test": "test"}),
    description="Entailment, neutral or contradiction, from TFDS",
)
