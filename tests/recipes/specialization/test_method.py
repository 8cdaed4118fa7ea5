"""Specialization as a whole, on a made dump and students of a few steps."""

from __future__ import annotations

import dataclasses
import json

import pytest
from little_sums import DATA_DIR, DATA_SET, TRAIN, tokens_of, written_question, written_sample
from tiny_models import encoder_decoder

from tlm_jax.data.demonstrations import DemonstrationSettings
from tlm_jax.data.records import read_records
from tlm_jax.errors import UserError
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.recipes.done import finished
from tlm_jax.recipes.question_sets import Questions
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.recipes.specialization.config import SpecializationConfig
from tlm_jax.recipes.specialization.evaluation import Evaluation
from tlm_jax.recipes.specialization.method import Specialization
from tlm_jax.recipes.specialization.mixture import Mixing
from tlm_jax.recipes.specialization.teacher import Teacher
from tlm_jax.runs.inference.config import SamplingConfig
from tlm_jax.runs.training.config import CheckpointConfig, DataConfig, RunConfig

LOSSES = ("match_sample", "match_distribution")
TWO_PROMPTS = {
    "evaluation": Evaluation(
        (DATA_SET,), prompts=("answer_zero_shot", "cot_zero_shot"), batch_size=16
    ),
    "choose_by": ("cot_zero_shot",),
}
FOLDER = "seed-0/four_formats/raw"


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """Two right solutions and a wrong one of each question."""
    questions = []
    for number, record in enumerate(TRAIN):
        tokens = tokens_of(record)
        samples = [
            written_sample(0, tokens, [(" 7", 0.06)]),
            written_sample(1, ["So", " ", *tokens], [(" 7", 0.06)]),
            written_sample(2, tokens_of(record, "99")),
        ]
        questions.append(written_question(number, record.question, record.answer, *samples))
    path = tmp_path_factory.mktemp("dump") / "dump.txt"
    path.write_text("".join(questions))
    return path


@pytest.fixture
def specialization(little_sums, dump):
    """Returns what makes the method; keywords replace fields of its configuration."""

    def make(**fields) -> Specialization:
        config = SpecializationConfig(
            questions=Questions(little_sums, dev_split="dev"),
            teacher=Teacher(files=(str(dump),), source="codex", name="codex"),
            training=RunConfig(
                model_dir="",
                model=encoder_decoder(1024),
                mixture_or_task_name="",
                feature_lengths={"inputs": 128, "targets": 32},
                batch_size=8,
                train_steps=4,
                optimizer=AdamW(learning_rate=Constant(0.01)),
                data=DataConfig(
                    "asset:word_problems",
                    str(DATA_DIR),
                    demonstrations=DemonstrationSettings(num=1),
                ),
                checkpoints=CheckpointConfig(period_steps=2),
            ),
            evaluation=Evaluation(
                (little_sums,), demonstrations=DemonstrationSettings(num=1), batch_size=16
            ),
            losses=LOSSES,
            rule="numeric",
        )
        return Specialization(dataclasses.replace(config, **fields))

    return make


@pytest.fixture
def run(tmp_path):
    """Returns what runs a method in one directory."""

    def run(method, **options):
        return run_recipe(RecipeConfig(str(tmp_path / "out"), method), "configuration", **options)

    return run


def test_from_a_dump_to_students_side_by_side(specialization, run, tmp_path, capsys):
    results = run(specialization())
    out = tmp_path / "out"
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    chosen = results["selection"]
    assert (chosen["samples"], chosen["right"], chosen["kept"]) == (36, 24, 24)
    assert chosen["questions_without"] == 0
    (aligned,) = results["alignment"].values()
    assert (aligned["examples"], aligned["matched"]) == (24, 24)
    assert aligned["soft_share"] > 0.3
    assert len(list(read_records(out / "align/offsets/examples.jsonl"))) == 24
    assert [run["loss"] for run in results["runs"]] == list(LOSSES)
    for found in results["runs"]:
        assert [step["step"] for step in found["steps"]] == [2, 4]
        assert found["chosen"]["step"] in (2, 4)
        for step in found["steps"]:
            assert len(step["dev"]) == 4
            assert all(one["nll_nats"] > 0 for one in step["dev"].values())
            assert set(step["evaluation"]["little_sums"]) == set(step["dev"])
    (pair, *others) = results["pairs"]
    assert len(others) == 3
    assert (pair["factor"], pair["questions"]) == ("loss", 4)
    names = [done.name for done in finished(out)]
    assert names == [
        "questions",
        "select",
        "align/offsets",
        *(f"{FOLDER}/{loss}/{stage}" for loss in LOSSES for stage in ("train", "evaluate")),
    ]
    assert names == [planned.name for planned in specialization().plan()]
    told = capsys.readouterr().out
    assert "24 kept of 12 questions; 0 questions without one" in told
    # Solutions alone are looked up; answers are no solutions of the teacher.
    assert "24 matched" not in told
    assert ", 0 missing, 0 stale, 0 refused" in told
    page = (out / "report.html").read_text()
    assert "Special against general ability" in page
    assert "four_formats, raw, match_distribution" in page
    assert "aligned: codex-0-0" in page


def test_the_same_command_does_nothing_again_and_a_change_what_it_reaches(
    specialization, run, tmp_path, capsys
):
    method = specialization(losses=("match_sample",), **TWO_PROMPTS)
    first = run(method)
    capsys.readouterr()
    assert run(method)["runs"] == first["runs"]
    assert capsys.readouterr().out.count("done before") == 5
    run(specialization(**TWO_PROMPTS), until=f"{FOLDER}/match_distribution/train")
    told = capsys.readouterr().out
    assert told.count("done before") == 5  # one more student, nothing else again
    assert f"== {FOLDER}/match_distribution/train" in told
    changed = dataclasses.replace(method.config.mixing, demonstrations="fixed")
    again = specialization(losses=("match_sample",), mixing=changed, **TWO_PROMPTS)
    run(again, until=f"{FOLDER}/match_sample/train")
    told = capsys.readouterr().out
    assert (
        f"== {FOLDER}/match_sample/train: again, because settings.rows.mixing.demonstrations was"
        in told
    )
    assert "== align/offsets: done before" in told


def test_formats_alone_and_one_a_micro_batch(specialization, run):
    mixing = Mixing(batches="same_question")
    template = specialization().config.training
    training = dataclasses.replace(template, batch_size=16, micro_batches=2)
    mixtures = {"cot": ("cot_zero_shot",), "both": ("cot_zero_shot", "cot_in_context")}
    results = run(
        specialization(
            mixing=mixing,
            training=training,
            mixtures=mixtures,
            losses=("match_sample",),
            **TWO_PROMPTS,
        )
    )
    assert [found["mixture"] for found in results["runs"]] == ["cot", "both"]
    assert {pair["factor"] for pair in results["pairs"]} == {"mixture"}
    assert [row["mixture"] for row in results["table"]] == ["cot", "both"]


def test_the_official_loss_has_an_alignment_of_its_own(specialization, run, tmp_path):
    results = run(
        specialization(losses=("match_sample", "match_distribution_official")),
        until="align/dtw",
    )
    assert results is None
    found = {done.name: done for done in finished(tmp_path / "out")}
    assert found["align/dtw"].decided_by["settings.join"]["lost_mass"] == "unnormalized"
    assert found["align/offsets"].decided_by["settings.join"]["lost_mass"] == "tail"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"losses": ("match_samples",)}, "LOSSES has 'match_samples', expected some of match_s"),
        ({"losses": ()}, r"LOSSES is \(\), expected one or more different ones"),
        ({"seeds": (0, 0)}, "SEEDS is .*expected one or more different ones"),
        ({"starts": {"a/b": None}}, "STARTS has the name 'a/b', which is to be a folder's"),
        (
            {"starts": {"a": "trained:twos"}},
            "a is 'trained:twos', but TRAININGS describes no such model",
        ),
        ({"alignment": "bytes"}, "unknown method 'bytes' of token alignment"),
        ({"choose_by": ("cot",)}, "Unknown format 'cot'"),
        ({"rule": "last"}, "no grading rule 'last'"),
        ({"mixing": Mixing(one_format=True), "pack": True}, "PACK=True puts rows of several form"),
    ],
)
def test_settings_that_cannot_be(specialization, fields, message):
    if fields.pop("pack", False):
        training = specialization().config.training
        data = dataclasses.replace(training.data, pack=True)
        fields["training"] = dataclasses.replace(training, data=data)
    with pytest.raises(UserError, match=message):
        specialization(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected either TEACHER_MODEL, which is asked, or TEACHER_FILES.*not neither"),
        ({"model": "m", "files": ("f",)}, "not both"),
        ({"files": ("f",)}, "TEACHER_SOURCE says what TEACHER_FILES are"),
        ({"model": "m", "form": "answer_zero_shot"}, "which asks for no solution"),
        ({"model": "m", "template": "Solve it."}, "without '{question}' in it"),
        ({"model": "m"}, "NUM_CANDIDATES is 0: ask for the teacher's most probable tokens"),
    ],
)
def test_teachers_that_cannot_be(fields, message):
    with pytest.raises(UserError, match=message):
        Teacher(**fields)


def test_a_teacher_without_a_tokenizer_is_told_which_setting_names_one(specialization, run):
    sampling = SamplingConfig(num_samples=1, num_candidates=2, max_tokens=4)
    teacher = Teacher("asset:word_problems_teacher", sampling=sampling)
    with pytest.raises(UserError, match=r"no tokenizer lies beside .*: set TEACHER_VOCABULARY to"):
        run(specialization(teacher=teacher))


def test_a_development_set_is_left_out_of_the_questions(specialization, run):
    questions = Questions("little_sums", train_split="dev", dev_split="dev")
    with pytest.raises(UserError, match=r"all 4 questions of the split 'dev' of little_sums are"):
        run(specialization(questions=questions))
