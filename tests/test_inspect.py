"""`python -m tlm_jax.inspect` lists and shows tasks, starts fast, and explains wrong arguments."""

import subprocess
import sys

import pytest

from tlm_jax import inspect
from tlm_jax.errors import UserError

TASK = "word_problems_cot_zero_shot"


def test_help_needs_no_tensorflow():
    code = (
        "import sys\nfrom tlm_jax import inspect\n"
        "try:\n    inspect.main(['--help'])\nexcept SystemExit as end:\n"
        "    heavy = {'tensorflow', 'seqio', 'flax', 'rich'} & set(sys.modules)\n"
        "    sys.exit(f'imported {heavy}' if heavy or end.code else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--feature_lengths" in done.stdout


def test_the_list_names_tasks_and_mixtures(capsys):
    assert inspect.main(["--list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "task" in lines[TASK]
    assert "train, validation, test" in lines[TASK]
    assert "mixture" in lines["word_problems_four_formats"]
    assert "gsm8k_cot_in_context" in lines


def test_an_embedded_task_is_shown(capsys):
    options = ["--examples=1", "--sample=50", "--feature_lengths=inputs:128,targets:128"]
    assert inspect.main([TASK, *options]) == 0
    shown = capsys.readouterr().out
    assert "The answer is" in shown
    assert "length 128 truncates" in shown
    assert "1,024 ids" in shown
    assert "row 1" in shown


def test_another_vocabulary_split_and_model(capsys):
    options = ["--examples=1", "--sample=20", "--vocabulary=byte", "--split=validation"]
    assert inspect.main([TASK, *options, "--architecture=decoder_only", "--no-pack"]) == 0
    shown = capsys.readouterr().out
    assert "259 ids" in shown
    assert "validation" in shown
    assert "decoder, weight 0" in shown
    assert "row 1" not in shown


def test_a_page_is_written(tmp_path, capsys):
    page = tmp_path / "page.html"
    assert inspect.main([TASK, "--sample=50", f"--html={page}"]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(page) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a task or mixture, or give --list"),
        (["word_problems_cot_zero_shoot"], f"Did you mean '{TASK}'"),
        ([TASK, "--feature_length=inputs:4"], "Did you mean '--feature_lengths'"),
        ([TASK, "--feature_lengths=inputs=4"], "cannot read 'inputs=4'; expected NAME:TOKENS"),
        ([TASK, "--feature_lengths=inputs:4"], "no feature length for 'targets'"),
        ([TASK, "--split=trian"], "has no split 'trian'.* Did you mean 'train'"),
        ([TASK, "--vocabulary=t5"], "cannot tell what vocabulary 't5' is"),
        (["--list", "--module=absent_module"], "cannot import module 'absent_module'"),
        ([TASK, "--sample=9", "--html=/absent/x.html"], "cannot write /absent/x.html"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        inspect.main(arguments)
    assert "\n" not in str(caught.value)
