"""What can go wrong in a loop: each is told in one line, before work where it can be."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.formats import get_format
from tlm_jax.data.formatted import FormattedRecords
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.errors import UserError
from tlm_jax.recipes.done import fingerprint
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.recipes.star import method as loops
from tlm_jax.recipes.star.forms import Questions
from tlm_jax.runs.inference.config import SamplingConfig
from tlm_jax.runs.training.session import run_training

ARM = "seed-0/rationalization"


@pytest.fixture
def run(tmp_path):
    """Returns what runs a method in one directory."""
    return lambda method: run_recipe(RecipeConfig(str(tmp_path / "out"), method), "configuration")


@pytest.fixture
def task_of():
    """Returns what registers a task of records, for the length of a test."""
    names: list[str] = []

    def register(train: list[Record], dev: list[Record], name: str = "task_of_the_test") -> str:
        records = LoadedRecords(name, {"train": lambda _: train, "dev": lambda _: dev})
        form = get_format("answer_zero_shot")
        tasks.register_task(name, FormattedRecords(records, form))
        names.append(name)
        return name

    yield register
    for name in names:
        tasks.unregister(name)


def sums(answer, count=4, **fields) -> list[Record]:
    return [
        Record(f"r{n}", "sums", "train", "numeric", f"{n}+1", None, str(answer(n)), **fields)
        for n in range(1, count + 1)
    ]


DEV = [Record(f"dev{n}", "sums", "dev", "numeric", f"9+{n}", None, str(9 + n)) for n in (1, 2)]


def asking(method, task, **fields):
    questions = dataclasses.replace(method.config.questions, task=task)
    return dataclasses.replace(
        method, config=dataclasses.replace(method.config, questions=questions, **fields)
    )


def test_no_right_rationale_stops_and_leaves_the_first_model(star, run, start, task_of, tmp_path):
    before = fingerprint(start)
    # Nobody answers 7000; hints of four digits are none that the model knows.
    task = task_of(sums(lambda n: 7000 + n), DEV)
    method = asking(star(), task, arms=("plain",))
    with pytest.raises(UserError, match="none of 4 rationales is kept") as caught:
        run(method)
    assert "\n" not in str(caught.value)
    assert "has to get some questions right" in str(caught.value)
    assert fingerprint(start) == before
    assert not list((tmp_path / "out").rglob("checkpoints"))


def test_a_first_model_that_changes_meanwhile_ends_the_run(star, run, start, monkeypatch, tmp_path):
    trained = tmp_path / "out" / ARM / "loop-01/train/stage.json"

    def changing(path):
        return "changed" if path == start and trained.exists() else fingerprint(path)

    monkeypatch.setattr(loops, "fingerprint", changing)
    with pytest.raises(UserError, match=f"the model {start}, from which each loop starts, has cha"):
        run(star())


def test_answers_that_are_never_found_are_told_as_that(star, run):
    # With a single token there is never a number.
    method = star(sampling=SamplingConfig(max_tokens=1, temperature=0.0), arms=("plain",))
    with pytest.raises(UserError, match="no answer was found in any: look at the samples"):
        run(method)


def test_fewer_examples_than_a_batch_are_noted(star, run, capsys):
    training = dataclasses.replace(star().config.training, batch_size=32)
    results = run(star(training=training, loops=1))
    kept = results["arms"][0]["loops"][1]["selection"]["examples"]
    assert f"note: {kept} examples are fewer than the 32 rows of a batch" in capsys.readouterr().out


def test_a_prompt_without_room_is_an_error_before_any_work(star, run, task_of, tmp_path):
    long = [Record("long", "sums", "train", "numeric", "1+" * 20 + "1", None, "21")]
    task = task_of([*sums(lambda n: n + 1), *long], DEV)
    with pytest.raises(UserError, match="the prompt of 'long' has 48 tokens in training, but"):
        run(asking(star(), task))
    assert not (tmp_path / "out").exists()


def test_a_prompt_beyond_the_window_is_an_error_before_any_work(star, run, template, tmp_path):
    model = dataclasses.replace(template.model, position="learned", max_positions=64)
    training = dataclasses.replace(
        template, model=model, model_dir=str(tmp_path / "start"), train_steps=4
    )
    data = dataclasses.replace(training.data, add_eos=None)
    run_training(
        dataclasses.replace(training, mixture_or_task_name="addition_direct", data=data), "start"
    )
    blocks = tmp_path / "few.txt"
    blocks.write_text("Q: 1+1\nA: so 2\n\n" * 4)
    training = dataclasses.replace(training, initial_checkpoint_path=training.model_dir)
    with pytest.raises(UserError, match="do not fit beside it into the model's window of 64"):
        run(star(form=Questions(few_shot_file=str(blocks)), training=training))
    assert not (tmp_path / "out").exists()


def test_another_set_of_questions_in_the_same_directory_is_told(star, run, task_of, capsys):
    run(star(loops=1))
    task = task_of(sums(lambda n: n + 1), DEV)
    capsys.readouterr()
    run(asking(star(loops=1), task))
    out = capsys.readouterr().out
    assert re.search(r"== questions: again, because settings\.dev was \S+ and is \S+;", out)
    assert "== seed-0/loop-01/generate: again, because settings.prompts was" in out


def test_another_model_in_the_same_directory_is_told(star, run, start, tmp_path, capsys):
    results = run(star(loops=1))
    other = tmp_path / "out" / results["arms"][0]["loops"][1]["files"]["wrong"]
    model = other.parents[1] / "train" / "model"
    training = dataclasses.replace(
        star().config.training, initial_checkpoint_path=str(model.rename(tmp_path / "other"))
    )
    capsys.readouterr()
    run(star(loops=1, training=training))
    out = capsys.readouterr().out
    assert "== seed-0/loop-00/evaluate: again, because content of the model was" in out
    assert f"== {ARM}/loop-01/train: again, because" in out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": ("both",)}, "ARMS has 'both', expected rationalization or plain"),
        ({"arms": ()}, "ARMS is (), expected one or more different ones"),
        ({"seeds": (1, 1)}, "SEEDS is (1, 1), expected one or more different ones"),
        ({"rationalized_share": 0.0}, "RATIONALIZED_SHARE is 0.0, expected above 0"),
        ({"loops": 0}, "StarConfig.loops is 0, expected at least 1"),
        ({"rule": "nmeric"}, "no grading rule 'nmeric'. Did you mean 'numeric'?"),
    ],
)
def test_senseless_settings_are_refused(star, fields, message):
    with pytest.raises(UserError, match=re.escape(message)):
        star(**fields)


def test_a_start_is_needed_and_one_only(star):
    training = dataclasses.replace(star().config.training, initial_checkpoint_path=None)
    with pytest.raises(UserError, match="INITIAL_CHECKPOINT_PATH or PRETRAINING, not neither"):
        star(training=training)
