"""Every main under an output without UTF-8, without a home, and when nobody reads what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tlm_jax.teacher_cache import CacheWriter, Header, TopK
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow, content_key
from tlm_jax.vocabularies.token_bytes import TokenTable

REPOSITORY = Path(__file__).parents[1]
TEXT = "Das Café kostet 5 € → 😀 − The answer is 6."
# As for a user that the machine does not know: no HOME, no entry of a home.
RUN = (
    "import pwd, runpy, sys\n"
    "def unknown(name): raise KeyError(name)\n"
    "if '--homeless' in sys.argv:\n"
    "    sys.argv.remove('--homeless')\n"
    "    pwd.getpwuid = pwd.getpwnam = unknown\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_module('tlm_jax.' + sys.argv[0], run_name='__main__', alter_sys=True)\n"
)
ENVIRONMENTS = {
    # None: the variable is not set. Python would choose UTF-8 by itself under LC_ALL=C.
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0",
              "PYTHONCOERCECLOCALE": "0"},
    "homeless": {"HOME": None, "XDG_CACHE_HOME": None},
    "closed": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Small inputs, all of them with characters that ASCII lacks."""
    import numpy as np

    folder = tmp_path_factory.mktemp("inputs")
    row = {"id": "é", "prompt": TEXT, "pred": TEXT, "gold": "5", "text": TEXT}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    table = TokenTable((b"", "é".encode(), "€".encode(), b"a"), frozenset({0}), 0, "tokens-1")
    header = Header("é", "parameters-1", "tokens-1", 4, source_task="sums")
    steps = StepDistributions(
        np.array([[1, 2]], np.int32), np.log(np.array([[0.7, 0.2]], np.float32)),
        np.log(np.array([0.1], np.float32)), np.ones(1, np.float32),
    )  # fmt: skip
    with CacheWriter(folder / "cache", header, encoding=TopK(2), table=table) as writer:
        writer.write(TeacherRow(content_key("é"), "é", np.array([1], np.int32), steps))
    return folder


def _run(folder: Path, command: Sequence[str], environment: str) -> tuple[int, str]:
    """Returns the status and all that was said, but for an output that nobody reads."""
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    for name, value in ENVIRONMENTS[environment].items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    flags = ["--homeless"] if environment == "homeless" else []
    words = [word.replace("FOLDER", str(folder)) for word in command]
    read, write = os.pipe()
    if environment == "closed":
        os.close(read)
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *flags, *words],
        cwd=REPOSITORY,
        env=variables,
        stdout=write if environment == "closed" else subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(write)
        out, err = process.communicate(timeout=300)
    if environment != "closed":
        os.close(read)
    return process.returncode, ((out or b"") + err).decode("utf-8", "replace")


def _check(folder: Path, command: Sequence[str], environment: str) -> None:
    status, said = _run(folder, command, environment)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert status in ((0, 1, 141) if environment == "closed" else (0,)), said


ROWS = "FOLDER/rows.jsonl"
QUICK = {
    "grade": ["grade", ROWS, "--prediction=pred", "--gold=gold", "--show=5"],
    "inspect": ["inspect", "word_problems_cot_zero_shot", "--sample=5"],
    "align": ["align", ROWS, "--text=text", "--teacher=byte", "--student=asset:word_problems"],
    "cache_teacher": ["cache_teacher", "inspect", "FOLDER/cache"],
    "rate": ["rate", ROWS, "--source=gold", "--question=prompt", "--report"],
    "help": ["train", "--help"],
    "train_dry": ["train", "--gin_file=tests/tiny_run.gin", "--gin.MODEL_DIR='run'", "--dry_run"],
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", QUICK)
def test_mains_that_show_something(folder, name, environment):
    _check(folder, QUICK[name], environment)


@pytest.fixture(scope="module")
def trained(folder) -> Path:
    """The same folder with a run in `run`."""
    status, said = _run(folder, _train("run"), "homeless")
    assert status == 0, said
    return folder


def _train(name: str) -> list[str]:
    return ["train", "--gin_file=tests/tiny_run.gin", f"--gin.MODEL_DIR='FOLDER/{name}'"]


WORKING = {
    "train": [*_train("ENV"), "--gin.EVAL_TASKS=['addition_direct']", "--gin.EVAL_EXAMPLES=4"],
    "eval": ["eval", "--gin.CHECKPOINTS=['FOLDER/run']", "--gin.EVAL_TASKS=['addition_direct']",
             "--gin.EVAL_EXAMPLES=4", "--gin.OUTPUT_DIR='FOLDER/eval'", "--gin.EVAL_SPLIT='train'",
             "--gin.VOCABULARY='byte'"],
    "infer": ["infer", "MODEL=FOLDER/run", f"PROMPTS={ROWS}", "OUTPUT_DIR=FOLDER/infer-ENV",
              "MAX_TOKENS=4", "VOCABULARY=byte"],
    "score": ["cache_teacher", "score", "MODEL=FOLDER/run", f"SOLUTIONS={ROWS}",
              "QUESTION_FIELD=prompt", "SOLUTION_FIELD=text", "OUTPUT_DIR=FOLDER/score-ENV",
              "VOCABULARY=byte"],
    "convert": ["convert", "FOLDER/run", "FOLDER/convert-ENV", "--to=t5x"],
    "report": ["report", "FOLDER/run"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", WORKING)
def test_mains_that_make_something(trained, name, environment):
    _check(trained, [word.replace("ENV", environment) for word in WORKING[name]], environment)


def test_an_output_that_the_shell_has_closed_is_no_obstacle(folder):
    command = " ".join([sys.executable, "-m", "tlm_jax.grade", f"'{folder}/rows.jsonl'"])
    shell = f"{command} --prediction=pred --gold=gold >&-"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
