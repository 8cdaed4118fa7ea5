"""Every command of README and guide names things that exist; those that can be run here are run.

A command stands in a `bash` block. It runs on any machine, in the order of its page, unless a
comment behind it says why not: `# needs a TPU`, `# takes minutes`.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tlm_jax.__main__ import COMMANDS
from tlm_jax.errors import UserError
from tlm_jax.runs.command_line.arguments import Parser

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs" / "guide").glob("*.md"))]

CONFIGURED = ("train", "eval", "infer", "precompile", "recipe")
"""These are configured by gin files, and take --dry_run."""

FAST = ("TRAIN_STEPS=2", "EVAL_EXAMPLES=2", "--gin.schedules.Cosine.warmup_steps=1")
"""Said last to each training that is run."""


class Command(NamedTuple):
    page: str
    text: str
    left_out: str
    """Why it cannot be run anywhere, if it cannot."""


def commands(page: Path) -> list[Command]:
    """Returns the commands of a page's `bash` blocks, here-documents included."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL):
        pattern = r"(?:[^\n]*<<'(\w+)'\n.*?^\1$|(?:[^\n]*\\\n)*[^\n]+)"
        for match in re.finditer(pattern, block, flags=re.DOTALL | re.MULTILINE):
            text, comment = match[0], ""
            if "<<" not in text:
                text, _, comment = text.replace("\\\n", " ").partition(" # ")
            reason = comment.strip() if re.match(r"needs|takes", comment.strip()) else ""
            if text.strip() and not text.startswith("#"):
                found.append(Command(page.stem, text.strip(), reason))
    return found


ALL = [command for page in PAGES for command in commands(page)]


def test_commands_are_found():
    texts = [command.text for command in ALL]
    assert "scripts/quickstart" in texts
    assert any(text.startswith("cat > questions.jsonl <<'END'\n{") for text in texts)
    assert any(command.left_out.startswith("needs") for command in ALL)
    assert not any("#" in command.text for command in ALL)


@pytest.mark.parametrize("command", ALL, ids=lambda c: f"{c.page}-{c.text[:60]}")
def test_command_names_things_that_exist(command, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    first, *rest = shlex.split(re.split(r" (?:>|<<|\|) ?", command.text)[0])
    if first.startswith("scripts/"):
        assert Path(first).stat().st_mode & 0o100, f"{first} is not executable"
        if first == "scripts/benchmark":
            assert Path(f"scripts/benchmarks/{rest[0]}.py").exists()
        assert command.left_out, "say what it needs, or how long it takes"
    elif first == "tlm":
        _check(rest, monkeypatch)
        capsys.readouterr()
    elif first == "seqio_cache_tasks":
        assert importlib.util.find_spec("seqio.scripts.cache_tasks_main")
    else:
        assert first in ("cat", "mkdir", "pip", "source"), f"this test does not know {first!r}"


class _Parsed(Exception):
    pass


def _check(words: list[str], monkeypatch) -> None:
    """Checks a command of `tlm` as far as its arguments and its configuration go."""
    name, *arguments = words
    if name == "recipe" and arguments[0] == "status":
        assert len(arguments) == 2
    elif name in CONFIGURED or words[:2] == ["cache_teacher", "score"]:
        _check_configuration(name, arguments)
    elif name == "lm_eval":
        assert importlib.util.find_spec("tlm_jax.lm_eval.__main__")
    else:
        module = "__main__" if name == "completion" else name
        assert name == "completion" or name in COMMANDS
        parse = Parser.parse_known_args

        def parse_only(self, argv):
            _, rest = parse(self, argv)
            assert not rest
            raise _Parsed

        monkeypatch.setattr(Parser, "parse_known_args", parse_only)
        with pytest.raises(_Parsed):
            importlib.import_module(f"tlm_jax.{module}").main(
                words if name == "completion" else arguments
            )


def _check_configuration(name: str, arguments: list[str]) -> None:
    main = importlib.import_module(f"tlm_jax.{name}").main
    dry = [*arguments, *([] if "--dry_run" in arguments else ["--dry_run"])]
    if any(word.startswith("INITIAL_CHECKPOINT_PATH=") for word in arguments):
        # The model is not here: everything else must be right.
        with pytest.raises(UserError, match=r"no model at \w+: there is no such file or directory"):
            main(dry)
    else:
        assert main(dry) == 0


@pytest.mark.slow  # each page trains for two steps and goes on from there
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page, tmp_path):
    can_run = [c.text for c in commands(page) if not c.left_out and not c.text.startswith("source")]
    for text in can_run:
        if text.startswith("tlm train") and "--dry_run" not in text:
            text = f"{text} {' '.join(FAST)}"
        python = shlex.quote(sys.executable)
        script = f'set -eu\ntlm() {{ {python} -m tlm_jax "$@"; }}\n{text}\n'
        finished = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, f"{text}\n{finished.stdout[-2000:]}{finished.stderr}"
