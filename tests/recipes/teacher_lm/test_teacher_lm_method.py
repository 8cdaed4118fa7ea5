"""TeacherLM as a whole: a teacher in three stages, enriched questions, students side by side."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tiny_models import decoder_only, encoder_decoder

from tlm_jax.data import tasks
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teacher_lm.lines import Layout
from tlm_jax.errors import UserError
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.recipes.done import finished
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.recipes.teacher_lm.config import TeacherLMConfig, TeacherTraining, Voting
from tlm_jax.recipes.teacher_lm.enhancing import Enhancement
from tlm_jax.recipes.teacher_lm.method import TeacherLM
from tlm_jax.recipes.teacher_lm.questions import Questions, read_questions, type_of
from tlm_jax.runs.inference.config import SamplingConfig, ServerConfig
from tlm_jax.runs.training.config import CheckpointConfig, DataConfig, RunConfig
from tlm_jax.vocabularies import ByteVocabulary


def training(model=None, **fields) -> RunConfig:
    run = RunConfig(
        model_dir="",
        model=model or decoder_only(ByteVocabulary().size),
        mixture_or_task_name="",
        feature_lengths={"targets": 256},
        batch_size=8,
        train_steps=2,
        optimizer=AdamW(learning_rate=Constant(0.01)),
        data=DataConfig(ByteVocabulary()),
        checkpoints=CheckpointConfig(period_steps=1),
    )
    return dataclasses.replace(run, **fields)


TEACHER = TeacherTraining(
    training(data=DataConfig(ByteVocabulary(), pack=True)),
    "exam_english_teacherlm_text",
    ("exam_english",),
    24,
    Layout(subject=True),
    (1, 2, 1),
    ("exam_english_teacherlm_rank",),
    rank_examples=4,
    rank_format="letter",
)


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    tasks.load_tasks()


@pytest.fixture
def method():
    """Returns what makes the method; keywords replace fields of its configuration."""

    def make(**fields) -> TeacherLM:
        config = TeacherLMConfig(
            questions=Questions(
                ("exam_english",), ("exam_english",), ("exam_english:test",), 6, 4, 8
            ),
            layout=Layout(),
            teacher=TEACHER,
            sampling=SamplingConfig(max_tokens=12),
            server=ServerConfig(),
            enhancement=Enhancement(),
            students={"small": training()},
            asked_lengths={"inputs": 224, "targets": 32},
            data=DataConfig(),
            formats=("text", "cot_mid"),
            epochs=2,
            teacher_batch_size=8,
            voting=Voting(2, 1.0, 8),
        )
        return TeacherLM(dataclasses.replace(config, **fields))

    return make


@pytest.fixture
def few():
    """A data set of three questions in one split."""
    options = ("owl", "eel")
    records = [Record(str(n), "few", "train", "choice", f"Q{n}?", options, "A") for n in range(3)]
    made = register_formats("few", LoadedRecords("few", {"train": lambda _: records}))
    yield "few"
    for task in made:
        tasks.unregister(task.name)


def test_of_one_split_each_set_has_its_own_questions(few):
    one = (few + ":train",)
    sets = read_questions(Questions(one, one, one, 1, 1, 1), Layout(), RunData())
    found = [records[0].id for records in (sets.train, sets.dev, sets.test)]
    assert sorted(found) == ["few:0", "few:1", "few:2"]
    with pytest.raises(UserError, match=r"every question of DEV_SETS is in a later set"):
        read_questions(Questions(one, one, one), Layout(), RunData())


def test_what_others_wrote_before_is_left_and_claims_become_choices(few):
    exam = read_questions(Questions(("exam",), ("exam",), ("exam",), 3, 1, 1), Layout(), RunData())
    assert all(not record.generated and record.rationale for record in exam.train)
    assert type_of(exam.train[0], {}) in ("fact", "sum")
    assert type_of(exam.train[0], {"exam": "school"}) == "school"


@pytest.fixture
def run(tmp_path):
    """Returns what runs a method in one directory."""

    def run(method, **options):
        return run_recipe(RecipeConfig(str(tmp_path / "out"), method), "configuration", **options)

    return run


def test_from_a_teacher_in_three_stages_to_formats_side_by_side(method, run, tmp_path, capsys):
    recipe = method()
    results = run(recipe)
    out = tmp_path / "out"
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    names = [done.name for done in finished(out)]
    assert names == [planned.name for planned in recipe.plan()]
    assert names == [
        "questions",
        *(f"teacher/{n}/{s}" for n in ("multi_task", "fields", "cot") for s in ("train", "choose")),
        "enhance/cot",
        "enhance/records",
        *(f"seed-0/small/text/{stage}" for stage in ("train", "evaluate")),
        *(f"seed-0/small/cot_mid/{stage}" for stage in ("train", "evaluate", "vote")),
    ]
    assert set(results["teacher"]["fields"]["accuracy"]) == {"1", "2"}
    assert results["enhancement"]["fields"]["cot"]["generated"] == 6
    enriched = list(read_records(out / "enhance/records/enriched.jsonl"))
    for record in enriched:
        start = f"Q: {record.question}"
        assert record.generated["all"]["cot"].startswith(start)
        assert record.generated["all"]["cot"].endswith(
            f"Let's think step by step.{record.generated['cot']}"
        )
    for student in results["runs"]:
        assert [one["step"] for one in student["steps"]] == [1, 2]
        assert student["steps"][0]["test"]["questions"] == 8
        assert student["sequences"] == results["enhancement"]["rows"]
        assert (student["votes"] is None) == (student["form"] == "text")
    rows = {(row["form"], row["type"]): row for row in results["table"]}
    assert set(rows) == {(f, t) for f in ("text", "cot_mid") for t in ("all", "fact", "sum")}
    assert rows["text", "all"]["change"] is None
    assert rows["cot_mid", "all"]["change"]["questions"] == 8
    parts = [rows["cot_mid", kind]["asked"] for kind in ("fact", "sum")]
    assert sum(parts) == rows["cot_mid", "all"]["asked"] == 8
    assert "small, cot_mid, seed 0" in (out / "report.html").read_text()
    told = capsys.readouterr().out
    assert "teacher, fields: step" in told
    # The same command does nothing again; another format is trained on what is there.
    again = run(recipe)
    assert again["table"] == results["table"]
    assert capsys.readouterr().out.count("done before") == len(names)


def test_a_data_set_is_only_enriched_where_there_are_no_formats(method, run, tmp_path):
    first = run(method(formats=(), teacher=dataclasses.replace(TEACHER, steps=(1, 1, 1))))
    assert set(first["enhancement"]["fields"]) == {"cot", "error", "fundamental"}
    (record, *others) = read_records(tmp_path / "out/enhance/records/enriched.jsonl")
    assert len(others) == 5
    assert set(record.generated) >= {
        *("cot", "error", "fundamental", "all", "cot_tail", "error_tail", "fundamental_tail")
    }
    assert len({done.name for done in finished(tmp_path / "out")}) == 1 + 10 + 3 + 1


def test_encoder_decoders_learn_pairs(method, run):
    pairs = training(
        encoder_decoder(ByteVocabulary().size), feature_lengths={"inputs": 160, "targets": 96}
    )
    results = run(
        method(
            learned="pairs",
            layout=Layout(language="en"),
            students={"t5": pairs},
            formats=("text", "manual_mid"),
            epochs=1,
        )
    )
    assert [row["form"] for row in results["table"] if row["type"] == "all"] == [
        "text",
        "manual_mid",
    ]
    assert results["runs"][1]["votes"]["questions"] == 8
    assert results["teacher"] == {}  # no field is asked for


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"formats": ("text", "text")}, r"FORMATS is .*, expected different ones"),
        ({"formats": ("txt",)}, r"no format of students 'txt'"),
        ({"learned": "pairs"}, r"the student 'small' is decoder-only, and LEARNED is 'pairs'"),
        ({"learned": "all"}, r"LEARNED is 'all', expected one of whole, answers, pairs"),
        ({"epochs": 0}, r"EPOCHS is 0, expected at least 1"),
        ({"sampling": SamplingConfig(num_samples=2)}, r"NUM_SAMPLES must be 1"),
        ({"teacher": {"error": "m"}}, r"TEACHER names no model for cot"),
        ({"students": {"a/b": training()}}, r"STUDENTS has the name 'a/b'"),
        (
            {"students": {"small": training(data=DataConfig(ByteVocabulary(), pack=True))}},
            r"packs its rows .*set EPOCHS=None",
        ),
    ],
)
def test_settings_that_cannot_work_are_one_clear_line(method, fields, message):
    with pytest.raises(UserError, match=message):
        method(**fields)


def test_questions_that_cannot_be_asked_are_named(method, run):
    sums = Questions(("word_problems_easy",), ("exam",), ("exam",), 2, 2, 2)
    with pytest.raises(UserError, match=r"record '.*' of '.*' has no options, and students are"):
        run(method(questions=sums))
    endless = Questions(("exam",), ("exam",), ("exam",))
    with pytest.raises(UserError, match=r"the split 'test' of exam has no end: set NUM_TEST"):
        run(method(questions=endless))
    with pytest.raises(UserError, match=r"TEACHER_STEPS is \[1, 2\], expected three numbers"):
        dataclasses.replace(TEACHER, steps=(1, 2))
