"""Questions that are the same but for their options have rows of their own."""

import json
from typing import Any

import numpy as np
import pytest

from tlm_jax.data.sources import option_texts
from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, Header, TopK
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow, content_key, solution_key
from tlm_jax.vocabularies import ByteVocabulary
from tlm_jax.vocabularies.token_bytes import token_table

BYTES = ByteVocabulary()
SENSE: list[dict[str, Any]] = [
    {
        "id": f"s{i}",
        "question": "Which sentence makes no sense?",
        "options_json": json.dumps(options),
        "targets": "The answer is (A)",
    }
    for i, options in enumerate([["He ate a shoe", "He ate"], ["Dogs fly", "Dogs bark"]])
]
PLAIN: dict[str, Any] = {"id": "p", "question": "2 + 2?", "targets": "4"}


def write_cache(directory, *examples, with_options=True, **identity) -> list[TeacherRow]:
    """Scores the targets, each example with another second candidate."""
    table = token_table(BYTES)
    header = Header("made up", "teacher-1", table.fingerprint, table.size, **identity)
    rows = []
    with CacheWriter(directory, header, encoding=TopK(2), table=table) as writer:
        for number, example in enumerate(examples):
            ids = np.append(BYTES.encode(example["targets"]), BYTES.eos_id).astype(np.int32)
            steps = StepDistributions(
                np.stack([ids, (ids + 40 + number) % 200 + 3], axis=1).astype(np.int32),
                np.log(np.tile(np.array([0.75, 0.25], np.float32), (len(ids), 1))),
                np.full(len(ids), -np.inf, np.float32),
                np.ones(len(ids), np.float32),
            )
            options = option_texts(example) if with_options else ()
            key = solution_key(example["question"], options, example["targets"])
            rows.append(TeacherRow(key, example["id"], ids, steps))
            writer.write(rows[-1])
    return rows


def join(directory, *pairs: tuple[dict[str, Any], TeacherRow]) -> list[Any]:
    teacher = OpenTeacher(TeacherJoin([str(directory)]), BYTES)
    return teacher.steps_of([e for e, _ in pairs], [row.token_ids for _, row in pairs])


def test_each_has_its_own_row(tmp_path):
    rows: list[Any] = write_cache(tmp_path, *SENSE)
    found = join(tmp_path, *zip(SENSE, rows))
    for steps, row in zip(found, rows):
        np.testing.assert_array_equal(steps.ids, row.steps.ids)
    assert not np.array_equal(found[0].ids, found[1].ids)
    turned = {**SENSE[0], "options_json": json.dumps(["He ate", "He ate a shoe"])}
    assert join(tmp_path, (turned, rows[0])) == [None]


def test_a_cache_of_keys_without_options_is_known_and_not_misread(tmp_path):
    old = ("question", "targets")
    rows: list[Any] = write_cache(tmp_path, PLAIN, SENSE[0], with_options=False, key_fields=old)
    assert rows[0].key == content_key("2 + 2?", "4")
    (steps,) = join(tmp_path, (PLAIN, rows[0]))
    np.testing.assert_array_equal(steps.ids, rows[0].steps.ids)
    message = r"'s1' has options, and the cache was made by an earlier version.*again"
    with pytest.raises(UserError, match=message):
        join(tmp_path, (SENSE[1], rows[1]))
    with pytest.raises(UserError, match=r"key_fields is \['question', 'targets'\], expected"):
        write_cache(tmp_path, *SENSE)
