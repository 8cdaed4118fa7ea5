"""Embedded addition of n-digit numbers, with STaR's scratchpad and without: no files needed."""

import functools

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, MappedRecords
from tlm_jax.data.generators.addition import Addition, addition
from tlm_jax.data.published_formats import star_addition
from tlm_jax.data.record_sets import GeneratedRecords
from tlm_jax.data.tasks import register_task

RECORDS = GeneratedRecords(
    "addition", ("train", "validation", "test"), functools.partial(addition, Addition())
)
POOL = DemonstrationPool(RECORDS)

for _name, _scratch in (("addition_scratchpad", True), ("addition_direct", False)):
    for _pool in (None, POOL):
        register_task(
            _name if _pool is None else f"{_name}_in_context",
            MappedRecords(RECORDS, functools.partial(star_addition, scratch=_scratch, pool=_pool)),
            vocabulary=EMBEDDED_VOCABULARY,
            description="Sums of two numbers of 1 to 5 digits, endless"
            + (", with STaR's scratchpad" if _scratch else ""),
        )
