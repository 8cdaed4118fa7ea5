"""LEMA as a whole on a tiny model: stages, exact arms, results, what is done again."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from little_apples import DEV, TRAIN, apples
from tiny_models import decoder_only

from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.records import read_records, write_records
from tlm_jax.errors import UserError
from tlm_jax.models.lora import LoraConfig
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.recipes.lema.config import Evaluation, LemaConfig, WrongPaths
from tlm_jax.recipes.lema.correctors import File, Model, Oracle
from tlm_jax.recipes.lema.evolution import Evolution
from tlm_jax.recipes.lema.forms import Numbered
from tlm_jax.recipes.lema.method import Lema
from tlm_jax.recipes.lema.speaking import Speaking
from tlm_jax.recipes.question_sets import Questions
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.runs.inference.config import SamplingConfig
from tlm_jax.runs.training.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    RunConfig,
)
from tlm_jax.runs.training.session import run_training
from tlm_jax.sharding.mesh import MeshShape

ARMS = ("cot", "lema", "lema_rows", "cot_rows")


@pytest.fixture(scope="module")
def template() -> RunConfig:
    return RunConfig(
        model_dir="",
        model=decoder_only(264, num_layers=1, embed_dim=32, mlp_dim=64),
        mixture_or_task_name="examples_in_pairs",
        feature_lengths={"inputs": 144, "targets": 136},
        batch_size=8,  # eight devices
        train_steps=2,
        optimizer=AdamW(learning_rate=Constant(0.01)),
        mesh=MeshShape(),
        data=DataConfig("byte"),
        evaluation=EvaluationConfig(max_decode_tokens=8, batch_size=8),
        checkpoints=CheckpointConfig(period_steps=1),
    )


@pytest.fixture(scope="module")
def start(template, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    record = apples(1, 2).with_generated(inputs="Q", targets="A")
    write_records(folder / "examples.jsonl", [record])
    data = dataclasses.replace(
        template.data, examples_file=str(folder / "examples.jsonl"), split="all"
    )
    run = dataclasses.replace(template, model_dir=str(folder / "model"), train_steps=1, data=data)
    run_training(run, "start")
    return folder / "model"


@pytest.fixture
def lema(little_apples, template, start, tmp_path, wrong_of) -> Callable[..., Lema]:
    """Returns what makes the method; keywords replace fields of its configuration."""
    wrong = [wrong_of(record, off=off) for record in TRAIN[:4] for off in (1, 2)]
    write_records(tmp_path / "wrong.jsonl", wrong)
    task = f"{little_apples}_cot_zero_shot"

    def make(**fields) -> Lema:
        config = LemaConfig(
            questions=Questions(little_apples, dev_split="dev"),
            form=Numbered(cot_form="cot_zero_shot", instruction=""),
            paths=WrongPaths(files=[str(tmp_path / "wrong.jsonl")]),
            corrector=Oracle(),
            training=dataclasses.replace(template, initial_checkpoint_path=str(start)),
            evaluation=Evaluation(
                [task], "dev", feature_lengths={"inputs": 64, "targets": 8}, batch_size=8
            ),
            dev_task=task,
            arms=ARMS,
        )
        return Lema(dataclasses.replace(config, **fields))

    return make


@pytest.fixture
def run(tmp_path):
    """Returns what runs a method in one directory."""

    def run(method, **options):
        config = RecipeConfig(str(tmp_path / "out"), method)
        return run_recipe(config, "configuration", **options)

    return run


def params(path: Path) -> list[np.ndarray]:
    source = open_pretrained(str(path))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_params(source, source.config))]


def test_four_arms_from_mistakes_to_a_table(lema, run, tmp_path, capsys):
    sampled = dataclasses.replace(lema().config.evaluation, num_samples=2)
    method = lema(num_compared=1, evaluation=sampled)
    results = run(method)
    out = tmp_path / "out"
    first = results["mistakes"]["first"]
    assert first["paths"]["wrong"] == first["corrections"]["kept"] == 8
    assert first["corrections"]["quality"]["first_error"] == 1.0
    rows = {row["arm"]: row for row in results["table"]}
    counts = {name: (row["rows"], row["corrections"]) for name, row in rows.items()}
    # One of eight corrections is kept from training.
    assert counts == {"cot": (16, 0), "lema": (23, 7), "lema_rows": (16, 7), "cot_rows": (23, 0)}
    task = method.config.dev_task
    for row in results["table"]:
        assert set(row["accuracy"][task]) == {"greedy", "self_consistency"}
        assert row["delta_nats"]["values"][0] is not None
    assert results["start"]["evaluation"][task]["greedy"]["questions"] == len(DEV)
    examples = list(read_records(out / "seed-0/lema/rows/examples-1.jsonl"))
    assert [record.get("inputs")[-15:] for record in examples[-7:]] == ["Incorrect Step:"] * 7
    assert examples[0].get("inputs") == "Q: 1 and 1 apples?\nLet's think step by step"
    assert (out / "corrections/rate.jsonl").read_text().count("\n") == 8
    assert json.loads((out / "results.json").read_text())["complete"]
    page = (out / "report.html").read_text()
    assert "checkpoints chosen on the development set" in page
    assert "lema_rows" in page
    told = capsys.readouterr().out
    assert "8 wrong paths of 8 solutions; 8 corrected (100.0%)" in told
    # Every arm has the same start and as many steps.
    assert {one["steps"] for one in results["runs"]} == {2}
    run(method)
    again = capsys.readouterr().out
    assert "again, because" not in again
    assert again.count("done before") == 4 + 2 + 4 * 4


def test_chosen_on_the_test_set_is_marked(lema, run):
    results = run(lema(arms=("cot",), choose_on="test"))
    assert results["mark"].startswith("checkpoints chosen on the test set, as published")
    last = run(lema(arms=("cot",), choose_on="last"))
    assert last["runs"][0]["chosen"] == 2
    assert last["runs"][0]["development"] == {}


def test_two_stages_and_qlora(lema, run, template, start, tmp_path):
    before = params(start)
    adapted = dataclasses.replace(
        template,
        initial_checkpoint_path=str(start),
        lora=LoraConfig(rank=2, targets=".", quantization="nf4"),
    )
    results = run(lema(arms=("lema", "lema_two_stages"), training=adapted))
    assert [len(one["rows"]) for one in results["runs"]] == [1, 2]
    assert all(np.array_equal(a, b) for a, b in zip(before, params(start)))
    assert (tmp_path / "out/seed-0/lema_two_stages/train/model-1").is_dir()


def test_evolution_that_finds_no_answers(lema, run, lines):
    speaking = Speaking(SamplingConfig(num_samples=3, max_tokens=4), vocabulary="byte")
    questions = lines("new.jsonl", [{"question": "7 and 7 apples?"}])
    evolve = Evolution(None, speaking, "start", speaking, file=str(questions))
    # An untrained model agrees with itself on no answer.
    with pytest.raises(UserError, match="evolution made no question with an answer"):
        run(lema(evolution=evolve))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": ()}, r"ARMS is \(\), expected one or more different ones"),
        ({"seeds": (0, 0)}, "SEEDS is"),
        ({"num_rated": -1}, "NUM_RATED is -1, expected 0 or more"),
        ({"num_compared": 8}, "NUM_COMPARED is 8 of 8 corrections, which leaves none to train on"),
        ({"corrector": File("none.jsonl")}, r"none\.jsonl"),
    ],
)
def test_settings_that_cannot_work(lema, run, fields, message):
    with pytest.raises(UserError, match=message):
        run(lema(**fields))


def test_long_rows_are_dropped_and_counted_or_an_error(lema, run, template, start):
    short = dataclasses.replace(
        template,
        initial_checkpoint_path=str(start),
        feature_lengths={"inputs": 64, "targets": 64},
    )
    with pytest.raises(UserError, match="the arm lema has no corrections: 0 were kept"):
        run(lema(training=short, arms=("lema",)), until="seed-0/lema/rows")
    results = run(lema(training=short, arms=("cot",)))
    assert results["runs"][0]["dropped"] == {"prompt longer than the row": 8}
    with pytest.raises(
        UserError, match=r"prompt longer than the row, \d+ tokens of 64: raise TASK"
    ):
        run(lema(training=short, arms=("cot",), too_long="error"))


def test_lema_fine_tunes_a_model(lema, template):
    with pytest.raises(UserError, match="set INITIAL_CHECKPOINT_PATH"):
        lema(training=template)
    with pytest.raises(UserError, match="LEMA needs wrong paths: set PATH_MODELS"):
        WrongPaths()


@pytest.fixture
def server():
    path = Path(__file__).parents[2] / "remote/conftest.py"
    spec = importlib.util.spec_from_file_location("remote", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scripted = module.ScriptedServer()
    yield scripted
    scripted.close()


def spoken(number, payload):
    """Answers as a weak solver, a strong one, a writer of questions or a corrector does."""
    first, second = map(int, re.findall(r"(\d+) and (\d+) \w+\?", payload["prompt"])[-1])
    off = 1 if payload["model"] == "weak" else 0
    total = first + second + off
    text = {
        "writer": f"{first} and {second} pears?",
        "corrector": f" Step 1.\nExplanation: {first} + {second} is {total}.\nCorrect Solution:\n"
        f"{{\nStep 1: It is {first} + {second} = {total}.\nStep 2: The answer is {total}.\n}}",
    }.get(payload["model"], f"It is {first} + {second} = {total}.\nThe answer is {total}")
    choice = {"text": text, "finish_reason": "stop"}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}


def test_servers_and_evolution(lema, run, server, template, start, tmp_path):
    server.script = spoken
    demonstration = {
        "question": "Why?", "original": "{\nStep 1: x\n}", "incorrect_step": "Step 1.",
        "explanation": "No.", "corrected": "{\nStep 1: y\n}",
    }  # fmt: skip
    row = {"task": "gsm8k", "instruction": "Correct.", "demonstrations": [demonstration]}
    (tmp_path / "lema_correction_prompts.jsonl").write_text(json.dumps(row))
    speaking = Speaking(SamplingConfig(logprobs=False))
    three = Speaking(SamplingConfig(num_samples=3, logprobs=False))
    url = f"openai:{server.url}"
    training = dataclasses.replace(
        template,
        initial_checkpoint_path=str(start),
        data=dataclasses.replace(template.data, data_dir=str(tmp_path)),
    )
    results = run(
        lema(
            paths=WrongPaths({"weak": f"{url},weak"}, speaking=speaking),
            corrector=Model(f"{url},corrector", speaking),
            evolution=Evolution(f"{url},writer", speaking, f"{url},strong", three, num_seeds=6),
            training=training,
            arms=("lema",),
        )
    )
    first, evolved = results["mistakes"]["first"], results["mistakes"]["evolve"]
    assert first["corrections"]["kept"] == first["paths"]["wrong"] == len(TRAIN)
    # Each seed's question is asked anew once, however often it was drawn.
    questions = results["evolution"]["evolved"]
    assert 1 <= questions <= 6
    assert evolved["corrections"]["kept"] == questions
    assert results["runs"][0]["rows"] == [2 * len(TRAIN) + 2 * questions]
    corrected = [r for r in server.requests if r["model"] == "corrector"]
    assert all(r["prompt"].startswith("Correct.\n\nQuestion: Why?") for r in corrected)
    assert all(r["prompt"].endswith("\n}\nIncorrect Step:") for r in corrected)
    # New questions are none of the data set's: test questions that are like them stay out.
    foreign = list(read_records(tmp_path / "out/seed-0/lema/rows/questions_of_paths.jsonl"))
    assert len(foreign) == questions
