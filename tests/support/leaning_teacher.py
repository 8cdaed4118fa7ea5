"""A cached teacher that leans to the targets of the first examples."""

from pathlib import Path

import numpy as np

from tlm_jax.data import tasks
from tlm_jax.data.teachers.join import example_key
from tlm_jax.teacher_cache import CacheWriter, Header, TopK
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow
from tlm_jax.vocabularies import ByteVocabulary
from tlm_jax.vocabularies.token_bytes import token_table

BYTES = ByteVocabulary()


def write_cache(
    directory: Path, count: int, encoding=None, temperature: float = 1.0, every: int = 1
) -> None:
    """Caches a teacher that leans to the targets of every so many of the first examples."""
    task, table = tasks.get_task("addition_direct"), token_table(BYTES)
    header = Header("sure", "teacher-1", table.fingerprint, table.size, temperature)
    with CacheWriter(directory, header, encoding=encoding or TopK(2), table=table) as writer:
        for index in range(0, count, every):
            example = task.source.example("train", index)
            ids = np.append(BYTES.encode(str(example["targets"])), BYTES.eos_id).astype(np.int32)
            others = (3 + (ids + 7) % 200).astype(np.int32)
            shape = (len(ids), 1)
            steps = StepDistributions(
                np.stack([ids, others], axis=1),
                np.log(np.tile(np.array([0.75, 0.25], np.float32), shape)),
                np.full(len(ids), -np.inf, np.float32),
                np.ones(len(ids), np.float32),
            )
            key = example_key(example, header.key_fields)
            writer.write(TeacherRow(key, str(example["id"]), ids, steps))
