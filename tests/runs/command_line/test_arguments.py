"""Every main says --help in one form, and refuses an argument in one line."""

import importlib

import pytest

from tlm_jax.__main__ import COMMANDS, main
from tlm_jax.errors import UserError
from tlm_jax.runs.command_line.arguments import Parser, configured_parser, parse_settings

MAINS = [name for name in COMMANDS if name not in ("cache_teacher", "lm_eval")]
CONFIGURED = ("train", "eval", "infer", "precompile")


@pytest.mark.parametrize("name", MAINS)
def test_help_has_usage_and_examples(name, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"tlm_jax.{name}").main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: tlm {name}")
    assert f"examples:\n  tlm {name} " in shown


@pytest.mark.parametrize("command", ["score", "import", "verify", "merge", "inspect"])
def test_commands_of_cache_teacher_say_help_alike(command, capsys):
    with pytest.raises(SystemExit):
        main(["cache_teacher", command, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: tlm cache_teacher {command}")
    assert f"examples:\n  tlm cache_teacher {command} " in shown


@pytest.mark.parametrize("name", MAINS)
def test_unknown_flag_is_one_line(name):
    # What a main requires comes first, so that only the unknown flag is wrong.
    required = {
        "report": ["a"],
        "convert": ["a", "b", "--to=hf"],
        "align": ["a"],
        "rate": ["a"],
        "precompile": ["--topology=v4:1"],
    }
    with pytest.raises(UserError) as caught:
        main([name, *required.get(name, []), "--no_such_flag"])
    assert "\n" not in str(caught.value)
    assert f"Try tlm {name} --help." in str(caught.value)


@pytest.mark.parametrize("name", CONFIGURED)
def test_configured_mains_have_the_same_flags(name):
    flags = set(importlib.import_module(f"tlm_jax.{name}").parser().flags())
    assert {"--gin_file", "--gin_search_paths", "--dry_run", "--help"} <= flags


def test_settings_in_all_spellings():
    parser = configured_parser("train", "", default_file="a.gin")
    argv = ["MODEL_DIR=runs/a b", "TRAIN_STEPS=5", "MODEL=@models.T5()", "--gin.SEED=1", "TASK=x=y"]
    known, bindings = parse_settings(parser, argv)
    assert known.gin_file == ["a.gin"]
    assert sorted(bindings) == sorted(
        ["MODEL_DIR='runs/a b'", "TRAIN_STEPS=5", "MODEL=@models.T5()", "SEED=1", "TASK='x=y'"]
    )


def test_missing_argument_is_a_user_error():
    parser = Parser("grade", "")
    parser.add_argument("file")
    with pytest.raises(UserError, match=r"required: file\. Try tlm grade --help\.$"):
        parser.parse([])


def test_unknown_command_names_the_nearest():
    with pytest.raises(UserError, match=r"no command 'trian'\. Did you mean 'train'\?"):
        main(["trian"])


def test_usage_lists_all_commands(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_flags(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "cache_teacher" in script
    assert "--gin_search_paths" in script
