"""Questions in LEMA's wording, as its models are trained and tested; ASDiv's numeric ones alone."""

from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, MappedRecords
from tlm_jax.data.published_formats import lema_question
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.data.tasks import register_task

from .arithmetic_tests import ASDIV, SVAMP
from .commonsenseqa import RECORDS as COMMONSENSEQA
from .gsm8k import RECORDS as GSM8K
from .math import RECORDS as MATH


def _numeric(data: RunData) -> list[Record]:
    """Returns the 2,084 questions of ASDiv whose answer is a number; the paper's."""
    return [record for record in ASDIV.records("test", data) if record.kind == "numeric"]


for _records in (
    GSM8K,
    MATH,
    SVAMP,
    LoadedRecords("asdiv", {"test": _numeric}, ASDIV.unreadable),
    COMMONSENSEQA,
):
    register_task(
        f"{_records.name}_lema",
        MappedRecords(_records, lema_question),
        vocabulary=EMBEDDED_VOCABULARY,
        # One text: the prompt ends with a line break.
        eos_features=("targets",),
        description=f"{_records.name} in LEMA's wording",
    )
