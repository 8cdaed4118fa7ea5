"""`python -m tlm_jax.eval` from checkpoints and records to results, table and report."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs import command_line
from tlm_jax.runs.evaluation_config import EvalConfig
from tlm_jax.runs.evaluation_run import run_evaluation

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "hf"
TASK = "creak_answer_zero_shot"
WORDS = "The answer is yes no Q: A: <b>fish</b> dogs cats birds can fly bark swim sing well"


def make_model(directory, golden):
    """A model with random weights that reads and writes a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    shutil.copytree(GOLDEN / golden, directory)
    special = ["<pad>", "</s>", "<s>"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS.split()])}
    vocabulary |= {f"w{n}": n for n in range(len(vocabulary), 128)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def write_records(path, questions):
    rows = [
        {
            "id": f"{path.stem}-{n}",
            "dataset": "creak",
            "split": path.stem,
            "kind": "boolean",
            "question": question,
            "options": ["yes", "no"],
            "answer": "yes" if n % 2 else "no",
            "rationale": "so",
        }
        for n, question in enumerate(questions)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A decoder-only model, an encoder-decoder, and questions of which two are known."""
    folder = tmp_path_factory.mktemp("eval")
    for name, golden in (("one", "llama_tied_linear_rope"), ("t5", "mt5")):
        make_model(folder / name, golden)
    (folder / "data").mkdir()
    animals = ["dogs", "cats", "birds", "<b>fish</b>"]
    questions = [f"{a} can {v} well" for a in animals for v in ("fly", "bark")]
    write_records(folder / "data" / "creak_dev.jsonl", questions)
    train = [questions[0].upper() + "!", f"so then {questions[3]} and so on", "birds can sing"]
    write_records(folder / "data" / "creak_train.jsonl", train)
    return folder


def evaluate(world, output, **bindings):
    known = command_line.parser("eval", "").parse_args([])
    known.gin_file = ["gin_configs/eval.gin"]
    settings = {
        "OUTPUT_DIR": str(output),
        "EVAL_TASKS": [TASK],
        "EVAL_SPLIT": "validation",
        "TASK_FEATURE_LENGTHS": {"inputs": 24, "targets": 8},
        "EVAL_BATCH_SIZE": 8,
        "DATA_DIR": str(world / "data"),
        **bindings,
    }
    config, text = command_line.load(
        EvalConfig, known, [f"{name}={value!r}" for name, value in settings.items()]
    )
    return run_evaluation(config, text)


@pytest.fixture(scope="module")
def evaluated(world, tmp_path_factory):
    """Every mode on both checkpoints; the output directory and what is returned."""
    output = tmp_path_factory.mktemp("out")
    results = evaluate(
        world,
        output,
        CHECKPOINTS=[str(world / name) for name in ("one", "t5")],
        MODES=["greedy", "rank", "self_consistency"],
        NUM_SAMPLES=3,
        TRAINING_SETS=["creak_answer_zero_shot:train"],
    )
    return output, results


def test_every_mode_answers_every_question(evaluated):
    output, results = evaluated
    assert json.loads((output / "results.json").read_text()) == results
    keys = [(r["checkpoint"], r["mode"]) for r in results["results"]]
    modes = ("greedy", "rank", "self_consistency")
    assert keys == [(name, mode) for name in ("one", "t5") for mode in modes]
    for row in results["results"]:
        assert row["questions"] == 8
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        path = output / "samples" / row["checkpoint"] / TASK / f"{row['mode']}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert sum(line["right"] for line in lines) == row["right"]
        samples = 3 if row["mode"] == "self_consistency" else 1
        assert {len(line["samples"]) for line in lines} == {samples}
        if row["mode"] == "rank":
            assert row["unparsable_share"] == 0
            assert {line["answer"] for line in lines} <= {"yes", "no"}
        if row["mode"] == "self_consistency":
            assert [point["k"] for point in row["curve"]] == [1, 2, 3]
            assert row["curve"][-1]["maj"] == pytest.approx(row["accuracy"])
            assert row["curve"][-1]["pass"] >= row["curve"][-1]["maj"]


def test_later_checkpoints_are_compared_with_the_first(evaluated):
    _, results = evaluated
    pairs = {(c["first"], c["second"], c["mode"]) for c in results["comparisons"]}
    assert len(pairs) == 3
    assert {pair[0] for pair in pairs} == {"one"}
    by_key = {(r["checkpoint"], r["mode"]): r for r in results["results"]}
    for found in results["comparisons"]:
        one, other = (by_key[(found[side], found["mode"])] for side in ("first", "second"))
        assert found["difference"] == pytest.approx(other["accuracy"] - one["accuracy"])
        assert found["fixed"] - found["broken"] == other["right"] - one["right"]
        assert len(found["newly_broken"]) == found["broken"]
        assert len(found["newly_right"]) == found["fixed"]
        assert 0 < found["p_value"] <= 1


def test_known_questions_are_reported(evaluated):
    _, results = evaluated
    (found,) = results["training_sets"]
    assert found["found"] == 2
    assert found["kinds"] == {"same": 1, "part": 1, "run": 0}
    assert found["ids"] == ["creak_dev-0", "creak_dev-3"]


def test_known_questions_can_be_left_out(world, tmp_path, capsys):
    results = evaluate(
        world,
        tmp_path,
        CHECKPOINTS=[str(world / "one")],
        MODES=["rank"],
        TRAINING_SETS=[str(world / "data" / "creak_train.jsonl")],
        LEAVE_OUT_KNOWN=True,
    )
    assert results["results"][0]["questions"] == 6
    said = capsys.readouterr().out
    assert "note: 2 of 8 questions of" in said
    assert "left out" in said
    assert "accuracy" in said
    assert "report.html" in said


def test_page_is_self_contained_and_shows_text_as_text(evaluated):
    page = (evaluated[0] / "report.html").read_text()
    assert "<b>fish</b>" not in page
    assert "&lt;b&gt;fish&lt;/b&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Newly broken" in page
    assert "<mark>" in page
    assert "Majority and any of k samples" in page
    assert "Test questions in training sets" in page


def test_rank_needs_options(world, tmp_path):
    with pytest.raises(UserError, match="'rank' needs choice or boolean tasks in answer formats"):
        evaluate(
            world,
            tmp_path,
            CHECKPOINTS=[str(world / "one")],
            EVAL_TASKS=["creak_cot_zero_shot"],
            MODES=["rank"],
        )


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ({"CHECKPOINTS": []}, "EvalConfig.checkpoints is empty"),
        ({"CHECKPOINTS": ["x"], "MODES": ["gredy"]}, "EvalConfig.modes is .*'greedy'"),
        ({"CHECKPOINTS": ["no/such/model"]}, "no model at no/such/model"),
        ({"CHECKPOINTS": ["x"], "NUM_SAMPLES": 0}, "num_samples is 0, expected at least 1"),
    ],
)
def test_says_what_is_wrong(world, tmp_path, bindings, message):
    with pytest.raises(UserError, match=message):
        evaluate(world, tmp_path, **bindings)


def test_help_needs_neither_jax_nor_tensorflow():
    code = (
        "import sys\nfrom tlm_jax import eval as main\n"
        "try:\n    main.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('jax', 'flax', 'tensorflow', 'seqio') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--gin_file" in output
    assert output.splitlines()[-1] == "[]"
