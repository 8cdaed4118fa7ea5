"""Records of any file: a teacher's solutions, or whatever else a run names as EXAMPLES_FILE."""

from tlm_jax.data.file_records import is_held_out
from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, MappedRecords, register_formats
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.data.tasks import register_task
from tlm_jax.data.teacher_lm.tasks import register_student_formats


def _read(held_out: bool, data: RunData) -> list[Record]:
    """Returns the records of held-out questions (5 %, by a hash of the question), or the others."""
    return [r for r in read_records(data.examples_file) if is_held_out(r) == held_out]


RECORDS = LoadedRecords(
    "examples",
    {
        "train": lambda data: _read(False, data),
        "validation": lambda data: _read(True, data),
        "all": lambda data: read_records(data.examples_file),
    },
)

register_formats("examples", RECORDS, description="The records of EXAMPLES_FILE")
register_student_formats("examples", RECORDS, description="The records of EXAMPLES_FILE")


def _as_written(record: Record, data: RunData) -> tuple[str, str]:
    """Returns the texts that whoever wrote the file has put together."""
    return str(record.get("inputs")), str(record.get("targets"))


register_task(
    "examples_as_written",
    MappedRecords(RECORDS, _as_written),
    vocabulary=EMBEDDED_VOCABULARY,
    # One text: what divides the two, if anything, is written in them.
    eos_features=("targets",),
    description="Fields `inputs` and `targets` of EXAMPLES_FILE, one behind the other as they are",
)

register_task(
    "examples_in_pairs",
    MappedRecords(RECORDS, _as_written),
    vocabulary=EMBEDDED_VOCABULARY,
    description="Fields `inputs` and `targets` of EXAMPLES_FILE, divided as a model's prompts are",
)
