"""Every command in the README names things that exist, and its gin files and bindings load."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import configuration as command_line
from tlm_jax.runs.command_line.arguments import configured_parser, parse_settings
from tlm_jax.runs.training import config

REPOSITORY = Path(__file__).parents[1]


def _commands() -> list[str]:
    """Returns the commands of the README's `bash` blocks, continuation lines joined."""
    text = (REPOSITORY / "README.md").read_text()
    commands = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.partition(" # ")[0].strip()
            if line and not line.startswith("#"):
                commands.append(line)
    return commands


def test_there_are_commands():
    commands = _commands()
    assert any(command.startswith("scripts/quickstart") for command in commands)
    assert any(command.startswith("scripts/test") for command in commands)


@pytest.mark.parametrize("command", _commands())
def test_command_names_things_that_exist(command, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    words = [word for word in shlex.split(command) if not re.match(r"^[A-Z_]+=", word)]
    if words[0].startswith("scripts/"):
        assert Path(words[0]).stat().st_mode & 0o100, f"{words[0]} is not executable"
        return
    if words[0].endswith("python") and words[1] == "-m":
        module = words[2]
        assert importlib.util.find_spec(module), f"no module {module}"
        if module in ("tlm_jax.train", "tlm_jax.precompile"):
            _load(words[3:])
        return
    pytest.fail(f"this test does not know how to check {command!r}")


@pytest.mark.parametrize("command", [c for c in _commands() if "tlm_jax.inspect" in c])
def test_inspect_command_runs(command, tmp_path):
    words = [w.replace("--html=", f"--html={tmp_path}/") for w in shlex.split(command)]
    finished = _run([sys.executable, *words[1:]])
    assert finished.returncode == 0, finished.stderr
    pages = [page.read_text() for page in tmp_path.glob("*.html")]
    assert "word_problems_easy" in "".join([finished.stdout, *pages])


@pytest.mark.slow  # five commands; the teacher must at least have learned to write text
def test_quickstart_runs(tmp_path):
    finished = _run(
        [
            *("scripts/quickstart", str(tmp_path / "out"), "--gin.TRAIN_STEPS=80"),
            *("--gin.schedules.Cosine.warmup_steps=10", "--gin.EVAL_EXAMPLES=2"),
        ],
        QUICKSTART_QUESTIONS="40",
        QUICKSTART_KEEP_WRONG="1",
    )
    assert finished.returncode == 0, finished.stderr
    assert "student distilled against student alone" in finished.stdout
    for name in ("teacher/report.html", "cache/examples.jsonl", "comparison.html"):
        assert (tmp_path / "out" / name).exists()


def _run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **variables}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def _load(arguments: list[str]) -> None:
    parser = configured_parser("train", "")
    parser.add_argument("--topology")
    known, bindings = parse_settings(parser, arguments)
    if not any(binding.startswith("MODEL_DIR=") for binding in bindings):
        bindings.append('MODEL_DIR="unused"')
    if any(binding.startswith("INITIAL_CHECKPOINT_PATH=") for binding in bindings):
        # The model that the command before it makes is not here: everything else must be right.
        with pytest.raises(UserError, match=r"no model at \w+: there is no such file or directory"):
            command_line.load(config.RunConfig, known, bindings)
        return
    run, text = command_line.load(config.RunConfig, known, bindings)
    assert run.train_steps > 0
    assert "MIXTURE_OR_TASK_NAME" in text
