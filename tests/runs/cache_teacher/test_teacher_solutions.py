"""The solutions of tasks and files: their keys, and what the teacher reads."""

import json

import numpy as np

from tlm_jax.data import tasks
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.reading import task_reading
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.data.teacher_imports.examples import ExampleFile, solution_record
from tlm_jax.data.teachers.join import example_key
from tlm_jax.runs.cache_teacher.config import SolutionsConfig, TeacherPromptConfig
from tlm_jax.runs.cache_teacher.solutions import load_solutions
from tlm_jax.vocabularies import ByteVocabulary

QUESTION = "Which sentence makes no sense?"
OPTIONS = [("He ate a shoe.", "He ate."), ("Dogs fly.", "Dogs bark.")]
ASK = TeacherPromptConfig(template="Ask: {question}\n")
BYTES = ByteVocabulary()
FIELDS = ("question", "options", "targets")


def test_solutions_of_a_task_are_told_apart_by_options_which_the_teacher_reads():
    asked = [
        *(
            Record(str(i), "s", "train", "choice", QUESTION, options, "A")
            for i, options in enumerate(OPTIONS)
        ),
        Record("2", "s", "train", "text", "Is it?\nOptions:\n- Yes\n- No", ("Yes", "No"), "No"),
    ]
    made = register_formats("sense_test", LoadedRecords("s", {"train": lambda _: asked}))
    try:
        config = SolutionsConfig(mixture_or_task_name="sense_test_answer_zero_shot")
        found = load_solutions(config, ASK, BYTES, task_reading(BYTES))
        _, readers = open_readers("sense_test_answer_zero_shot", "train", feature_lengths={})
        examples = next(iter(readers.values())).read(np.arange(3)).records
    finally:
        for task in made:
            tasks.unregister(task.name)
    assert [one.key for one in found] == [example_key(example, FIELDS) for example in examples]
    assert len({one.key for one in found}) == 3
    assert [one.prompt.text for one in found] == [
        f"Ask: {QUESTION} (A) He ate a shoe. (B) He ate.\n",
        f"Ask: {QUESTION} (A) Dogs fly. (B) Dogs bark.\n",
        "Ask: Is it?\nOptions:\n- Yes\n- No\n",
    ]


def test_solutions_of_a_file_are_told_apart_and_become_a_record_each(tmp_path):
    path = tmp_path / "solutions.jsonl"
    rows = [
        {"id": str(i), "question": QUESTION, "options": options, "kind": "choice", "answer": "A"}
        for i, options in enumerate(OPTIONS)
    ]
    text = "The answer is (A)"
    path.write_text("".join(json.dumps({**row, "solution": text}) + "\n" for row in rows))
    found = load_solutions(SolutionsConfig(file=str(path)), ASK, BYTES, task_reading(BYTES))
    assert len({one.key for one in found}) == 2
    examples = ExampleFile(tmp_path)
    for one in found:
        examples.add(solution_record(one.solution, dataset="s"))
    assert len(examples) == 2
