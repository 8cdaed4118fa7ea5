"""`python -m tlm_jax.grade` prints accuracy and agreement, and says what is wrong with a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.grade import main

ROWS = [
    {"id": "a", "task": "t[red]", "gold": "4", "p": [{"t": "The answer is 4", "ok": True}]},
    {
        "id": "b",
        "task": "u",
        "gold": 5,
        "p": [{"t": "\x1b[31m5", "ok": False}, {"t": "six", "ok": 1}, {"t": None, "ok": None}],
    },
    {"id": "c", "task": "u", "gold": "\ud800five", "p": [{"t": "5", "ok": True}]},
]
FIELDS = ["--prediction=p.t", "--gold=gold"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_what_is_printed(path, capsys):
    assert main([path, *FIELDS, "--group=task", "--label=p.ok"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert cells["t[red]"] == ["1", "1", "100.00%", "20.7", "to", "100.0", "0"]
    assert cells["u"] == ["1", "3", "33.33%", "6.1", "to", "79.2", "2"]
    assert cells["all"] == ["2", "4", "50.00%", "15.0", "to", "85.0", "2"]
    assert "1 of 3 labels agree (33.33%); 1 right only by the rule, 1 right only by the label" in (
        lines
    )
    assert "1 gold answer not readable, not graded:" in lines
    assert f"{path}:2 p[0] b: found '5', gold '5'; ends '\\x1b[31m5'" in lines
    assert f"{path}:2 p[1] b: no answer, gold '5'; ends 'six'" in lines
    assert f"{path}:3 p[0] c: found '5', gold '\\ud800five'; ends '5'" in lines


def test_show_limits_the_lists(path, capsys):
    assert main([path, *FIELDS, "--label=p.ok", "--show=0"]) == 0
    assert "found '5'" not in capsys.readouterr().out


def test_json(path, tmp_path, capsys):
    assert main([path, *FIELDS, "--group=task", "--label=p.ok", "--json=-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = tmp_path / "grades.json"
    assert main([path, *FIELDS, "--group=task", "--label=p.ok", f"--json={written}"]) == 0
    assert json.loads(written.read_text()) == printed
    assert printed["rule"] == "numeric"
    assert (printed["count"], printed["graded"], printed["correct"]) == (5, 4, 2)
    assert printed["mean_of_groups"] == pytest.approx(2 / 3)
    assert printed["groups"]["u"]["accuracy"] == pytest.approx(1 / 3)
    assert (printed["labelled"], printed["agreeing"]) == (3, 1)
    assert [item["id"] for item in printed["false_positives"]] == ["b"]
    assert [item["where"] for item in printed["false_negatives"]] == [f"{path}:2 p[1]"]
    assert [item["gold"] for item in printed["unreadable_golds"]] == ["\ud800five"]


def test_options_of_a_choice(tmp_path, capsys):
    path = tmp_path / "choices.jsonl"
    row = {"prediction": "The answer is the bank.", "gold": "B", "options": ["mall", "the bank"]}
    path.write_text(json.dumps(row))
    flags = ["--rule=choice", "--prediction=prediction", "--gold=gold"]
    assert main([str(path), *flags, "--options=options", "--json=-"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == 1
    assert main([str(path), *flags, "--json=-"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == 0


def test_rules_are_listed_with_their_faults(capsys):
    assert main(["--list_rules"]) == 0
    out = capsys.readouterr().out
    assert "official_last_number: " in out
    assert "    fault: no minus sign: -10 equals 10" in out


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ('{"p": "1", "g": "1"}\n{"p": ', [], r"a\.jsonl:2: not valid JSON"),
        ("[1]", [], r"a\.jsonl:1: expected a JSON object, got list"),
        ("", [], r"a\.jsonl: holds no predictions"),
        ('{"p": "1", "gold": "1"}', [], r"a\.jsonl:1: no field 'g'"),
        ('{"p": {}, "g": "1"}', [], r"a\.jsonl:1: p must be text or a number, got dict"),
        ('{"p": "1", "g": "1", "l": "yes"}', ["--label=l"], r"l must be true or false .* 'yes'"),
        ('{"p": "1", "g": "1"}', ["--rule=numerc"], r"no grading rule 'numerc'\. Did you mean"),
        ('{"p": "1", "g": "1"}', ["--labl=l"], r"unknown argument '--labl=l'\. Did you mean"),
        ('{"p": "1", "g": "1"}', ["--show=-1"], r"--show must be 0 or more, got -1"),
        ('{"p": "1", "g": "1"}', ["--json=/absent/x"], r"/absent/x: cannot be written \(No such"),
    ],
)
def test_bad_input_is_one_line(tmp_path, content, flags, message):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        main([str(path), "--prediction=p", "--gold=g", *flags])
    assert "\n" not in str(error.value)


def test_what_must_be_given(tmp_path):
    with pytest.raises(UserError, match=r"missing: FILE, --gold=FIELD\. Try tlm grade --help"):
        main(["--prediction=p"])


def test_the_command(path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for arguments, status in (([path, *FIELDS], 0), ([path + "x", *FIELDS], 1)):
        done = subprocess.run(
            [sys.executable, "-m", "tlm_jax.grade", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == status
        assert done.stderr == ("" if status == 0 else f"error: {path}x: no such file.\n")


def test_neither_jax_nor_tensorflow_is_imported(path):
    program = (
        "import sys; from tlm_jax.grade import main; main(sys.argv[1:]); "
        "assert not {'jax', 'tensorflow', 'sympy'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", program, path, *FIELDS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
