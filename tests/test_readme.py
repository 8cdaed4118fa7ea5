"""Every command in the README names things that exist, and its gin files and bindings load."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from tlm_jax.runs import command_line, config

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
    assert words[0] in ("cd", "git", "pip", "pre-commit", "tensorboard"), f"unchecked: {command}"


def _load(arguments: list[str]) -> None:
    parser = command_line.parser("train", "")
    parser.add_argument("--topology")
    parser.add_argument("--dry_run", action="store_true")
    known, bindings = command_line.parse(parser, arguments)
    if not any(binding.startswith("MODEL_DIR=") for binding in bindings):
        bindings.append('MODEL_DIR="unused"')
    run, text = command_line.load(config.RunConfig, known, bindings)
    assert run.train_steps > 0
    assert "MIXTURE_OR_TASK_NAME" in text
