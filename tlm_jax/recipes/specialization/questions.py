"""The questions of a run, and the records that are drawn from as demonstrations."""

from __future__ import annotations

import dataclasses

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.run_data import RunData
from tlm_jax.recipes.asking import records_digest
from tlm_jax.recipes.question_sets import (
    Questions,
    QuestionSets,
    read_question_sets,
    records_of,
)


@dataclasses.dataclass(frozen=True)
class PooledQuestions(QuestionSets):
    """The questions of a run with their demonstrations.

    Attributes:
      pool: the records of the training split, to draw demonstrations from.
      pool_digest: a hash of the records of the pool; of one without an end, of its name.
    """

    pool: DemonstrationPool
    pool_digest: str


def read_questions(questions: Questions, data: RunData) -> PooledQuestions:
    """Reads all of them; raises UserError as `read_question_sets`."""
    sets, records = read_question_sets(questions, data), records_of(questions.data_set)
    split = questions.train_split
    size = records.num_records(split, data)
    digest = f"{records.name} {split}"
    if size is not None:
        digest = records_digest(records.record(split, place, data) for place in range(size))
    pool = DemonstrationPool(records, split)
    return PooledQuestions(sets.train, sets.dev, sets.left_out, pool, digest)
