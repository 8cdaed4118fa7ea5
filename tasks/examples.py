"""Records of any file: a teacher's solutions, or whatever else a run names as EXAMPLES_FILE."""

from tlm_jax.data import location
from tlm_jax.data.file_records import is_held_out
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, read_records


def _read(held_out: bool) -> list[Record]:
    """Returns the records of held-out questions (5 %, by a hash of the question), or the others."""
    return [r for r in read_records(location.examples_file()) if is_held_out(r) == held_out]


RECORDS = LoadedRecords(
    "examples",
    {
        "train": lambda: _read(held_out=False),
        "validation": lambda: _read(held_out=True),
        "all": lambda: list(read_records(location.examples_file())),
    },
)

register_formats("examples", RECORDS, description="The records of EXAMPLES_FILE")
