"""A live teacher of another vocabulary: its steps stand where it writes the student's tokens."""

import itertools

import numpy as np
import pytest

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.reading import task_reading
from tlm_jax.data.sources import ListSource
from tlm_jax.data.teachers.tokens import PREFIX, STEPS, TeacherTokens
from tlm_jax.vocabularies import ByteVocabulary

STUDENT, TEACHER = ByteVocabulary(), ByteVocabulary(extra_ids=1)
EXAMPLES = [
    {"id": "short", "inputs": "ab", "targets": "x"},
    {"id": "long answer", "inputs": "ab", "targets": "vwxyz"},
    {"id": "long prompt", "inputs": "abcdef", "targets": "x"},
]
"""Of 3, 3 and 7 prompt tokens and 2, 6 and 2 target tokens, EOS included."""
ARCHITECTURES = ("encoder_decoder", "decoder_only")


@pytest.fixture(autouse=True)
def registered():
    tasks.register_task("read_twice", ListSource({"train": EXAMPLES}), vocabulary=STUDENT)
    yield
    tasks.unregister("read_twice")


def read(teacher, *, student_lengths, teacher_lengths, student="decoder_only"):
    """Returns the batch of all three examples, and how many were cut."""
    config = PipelineConfig(
        "read_twice",
        student_lengths,
        batch_size=3,
        architecture=student,
        shuffle=False,
        pack=False,
        num_epochs=1,
        teacher_tokens=TeacherTokens(TEACHER, teacher, teacher_lengths, task_reading(TEACHER)),
    )
    with Pipeline(config) as pipeline:
        (batch,) = pipeline
        return batch.arrays, dict(pipeline.statistics.truncated)


ROOM, TIGHT = {"inputs": 8, "targets": 8}, {"inputs": 5, "targets": 4}


@pytest.mark.parametrize(("student", "teacher"), itertools.product(ARCHITECTURES, repeat=2))
@pytest.mark.parametrize("student_lengths", [ROOM, TIGHT])
@pytest.mark.parametrize("teacher_lengths", [ROOM, TIGHT])
def test_every_step_is_where_the_teacher_predicts_that_very_token(
    student, teacher, student_lengths, teacher_lengths
):
    batch, _ = read(
        teacher, student=student, student_lengths=student_lengths, teacher_lengths=teacher_lengths
    )
    said = 0
    for row, example in enumerate(EXAMPLES):
        places = np.flatnonzero(batch["decoder_loss_weights"][row])
        steps = batch[STEPS][row, places]
        written = batch["decoder_target_tokens"][row, places]
        heard = steps >= 0
        # Both vocabularies have the same ids for EOS and bytes.
        own = batch[PREFIX + "decoder_target_tokens"][row]
        np.testing.assert_array_equal(own[steps[heard]], written[heard])
        assert (batch[PREFIX + "decoder_loss_weights"][row, steps[heard]] == 1).all()
        prompt = len(example["inputs"]) + 1
        lengths = student_lengths["inputs"], teacher_lengths["inputs"]
        same = min(prompt, lengths[0]) == min(prompt, lengths[1])
        both = min(len(places), teacher_lengths["targets"])
        np.testing.assert_array_equal(heard, same & (np.arange(len(places)) < both))
        said += heard.sum()
    assert said


@pytest.mark.parametrize("teacher", ARCHITECTURES)
def test_what_the_teacher_reads_cut_is_counted(teacher):
    _, cut = read(teacher, student_lengths=ROOM, teacher_lengths=TIGHT)
    assert cut == {"inputs": 0, "targets": 0, "teacher/inputs": 1, "teacher/targets": 1}
    _, cut = read(teacher, student_lengths=TIGHT, teacher_lengths=ROOM)
    assert cut == {"inputs": 1, "targets": 1, "teacher/inputs": 0, "teacher/targets": 0}


def test_a_hand_made_row_of_a_decoder_only_teacher():
    batch, _ = read("decoder_only", student_lengths=ROOM, teacher_lengths=TIGHT)
    a, b, v, w, x, y = (3 + ord(letter) for letter in "abvwxy")
    row = batch[PREFIX + "decoder_target_tokens"][1]
    np.testing.assert_array_equal(row, [a, b, 1, v, w, x, y, 0, 0])
    # The student's row begins with its prompt; of v w x y z EOS the teacher's row has four.
    steps = batch[STEPS][1]
    np.testing.assert_array_equal(steps[:9], [-1, -1, -1, 3, 4, 5, 6, -1, -1])
