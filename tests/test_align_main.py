"""`python -m tlm_jax.align` reproduces recorded alignments, and prints what differs."""

import copy
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlm_jax.align import main
from tlm_jax.errors import UserError

ROW = {
    "gpt_tokens": ["If", " so", ".", "\n", "In", " all", " 48", "/", "2"],
    "t5_tokens": ["▁If", "▁so", ".", "▁In", "▁all", "▁48", "/2"],
    "mapping_t5_to_gpt": [
        ["▁If", ["If"]],
        ["▁so", [" so"]],
        [".", [".", "\n"]],
        ["▁In", ["In"]],
        ["▁all", [" all"]],
        ["▁48", [" 48"]],
        ["/2", ["/", "2"]],
    ],
    "total_cost": 3,
    "gpt_step_probs": [
        *([[" step", 1.0]], [["\n", 1.0]]),
        [["If", 0.5], ["If", 0.5], ["In", 0.25]],
        [[" so", 0.5], [" so", 0.5], [" all", 0.0], ["ZZ", 0.1]],
        *([[token, 1.0]] for token in (".", "\n", "In")),
        [[" all", 0.7], [" so", 0.2]],
        *([[token, 1.0]] for token in (" 48", "/", "2")),
        *([["\n", 1.0]], [["\n", 1.0]]),
    ],
    "t5_step_probs": [
        [["▁If", 1.0]],
        [["▁so", 0.5], ["▁all", 0.0]],
        [[".", 1.0]],
        [["▁In", 1.0]],
        [["▁all", 0.7], ["▁so", 0.2]],
        [["▁48", 1.0]],
        [["/2", 1.0]],
    ],
}
"""What the published program makes of two lines, a step framed as in its dumps."""


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes rows as JSON Lines and gives the path."""

    def write_rows(*rows, name="rows.jsonl"):
        path = tmp_path / name
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
        return str(path)

    return write_rows


def changed(**fields):
    return {**copy.deepcopy(ROW), **fields}


def test_what_agrees(write, capsys):
    end = [*ROW["t5_step_probs"], [["</s>", 1.0]]]
    rows = [ROW, changed(t5_step_probs=end, gpt_step_probs=ROW["gpt_step_probs"][2:-2])]
    objects = changed(t5_step_probs=[dict(step) for step in ROW["t5_step_probs"]])
    assert main([write(*rows, objects, name="rows.jsonl.gz")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        "3 rows by dtw: 21 of 21 mappings, 3 of 3 costs, 21 of 21 targets as recorded"
    )
    assert out[1].startswith("(which alternatives are pieces was taken from each row")


def test_what_differs_is_printed_by_row_and_place(write, capsys):
    mapping = copy.deepcopy(ROW["mapping_t5_to_gpt"])
    mapping[2][1] = ["."]
    targets = copy.deepcopy(ROW["t5_step_probs"])
    targets[4] = [["▁so", 0.2], ["▁all", 0.7]]  # the order counts, for the first of equal ones
    path = write(ROW, changed(mapping_t5_to_gpt=mapping, total_cost=3.5, t5_step_probs=targets))
    assert main([path]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"{path}:2: mapping of piece 2: recorded ('.', ['.']), ours ('.', ['.', '\\n'])",
        f"{path}:2: cost: recorded 3.5, ours 3.0",
        f"{path}:2: target of piece 4 '▁all': recorded [('▁so', 0.2), ('▁all', 0.7)], "
        "ours [('▁all', 0.7), ('▁so', 0.2)]",
    ]
    assert lines[3].startswith("2 rows by dtw: 13 of 14 mappings, 1 of 2 costs, 13 of 14 targets")
    assert main([path, "--show=1"]) == 1
    assert "... and 2 more differences" in capsys.readouterr().out


def test_lengths_that_differ(write, capsys):
    row = changed(mapping_t5_to_gpt=ROW["mapping_t5_to_gpt"][:5])
    row["t5_step_probs"] = ROW["t5_step_probs"][:-1]
    assert main([write(row)]) == 1
    out = capsys.readouterr().out
    assert "rows.jsonl:1: mapping of 5 pieces, but t5_tokens has 7" in out
    assert "rows.jsonl:1: targets of 6 pieces, but t5_tokens has 7" in out


def test_offsets_align_a_newline_with_what_follows(write, capsys):
    assert main([write(ROW), "--method=offsets"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines[:-1]] == [
        "mapping of piece 2",
        "mapping of piece 3",
    ]
    assert lines[-1] == "1 row by offsets: 5 of 7 mappings as recorded"


def test_a_text_without_pieces(write, capsys):
    empty = {"gpt_tokens": [], "t5_tokens": [], "mapping_t5_to_gpt": [], "total_cost": 0}
    assert main([write(empty)]) == 0
    blank = {"gpt_tokens": ["\n"], "t5_tokens": [], "mapping_t5_to_gpt": []}
    assert main([write(blank)]) == 0
    assert "nothing recorded that this method gives" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"gpt_token": []}, "the field 'gpt_tokens' is missing. Did you mean 'gpt_token'"),
        ({"gpt_tokens": [], "t5_tokens": []}, "nothing to check"),
        (changed(t5_tokens=["a", 1]), "'t5_tokens' must be a list of texts"),
        (changed(total_cost="4"), "'total_cost' must be a number"),
        (changed(mapping_t5_to_gpt=[["a"]]), "must be a list of \\[piece, list of texts\\]"),
        (changed(gpt_step_probs=[[["a", None]]]), "'gpt_step_probs' must be a list of lists"),
        (changed(gpt_step_probs=[[["a", 1.0]]]), "1 steps of probabilities for 9 gpt_tokens"),
        (changed(gpt_step_probs=None), "cannot be checked without 'gpt_step_probs'"),
    ],
)
def test_rows_of_another_form(write, row, message):
    with pytest.raises(UserError, match=f"rows.jsonl:2: .*{message}"):
        main([write(ROW, row)])


def test_arguments(write):
    path = write(ROW)
    for arguments, message in (
        ([path, "--shwo=3"], "unknown argument '--shwo=3'. Did you mean '--show'"),
        ([path, "--show=-1"], "--show must be 0 or more"),
        ([path, "--text=a"], "--text needs --teacher=V and --student=V"),
        ([path, "--teacher=byte"], "--teacher is for texts"),
        ([write(name="none.jsonl")], "no rows to check"),
        ([path, "--text=total_cost", "--teacher=byte", "--student=byte"], "is not text but 3"),
    ):
        with pytest.raises(UserError, match=message):
            main(arguments)


def test_how_far_two_tokenizers_agree(write, capsys):
    path = write({"a": {"text": "Mia has 3 apples."}}, {"a": {"text": None}}, {"a": {"text": ""}})
    tokenizers = ["--teacher=byte", "--student=asset:word_problems"]
    assert main([path, "--text=a.text", *tokenizers, "--method=offsets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 texts by offsets: ")
    assert any("'▁has'  ' ' 'h' 'a' 's'" in line for line in lines[2:])
    assert main([path, "--text=a.text", "--teacher=byte", "--student=byte", "--show=0"]) == 0
    # The published rule has EOS as a hard target.
    assert capsys.readouterr().out == (
        "2 texts by dtw: 19 student tokens, 89.5% soft, 10.5% hard\n"
    )


def test_half_a_character_is_a_token_but_no_text(write):
    # GPT's tokens may end within a character; a text that does is damaged, and its row is named.
    half = copy.deepcopy(ROW)
    half["gpt_tokens"][0] = half["mapping_t5_to_gpt"][0][1][0] = "\ud83d"
    assert main([write(half)]) in (0, 1)
    path = write({"a": "whole"}, {"a": "\ud83d"})
    with pytest.raises(UserError, match=r"rows.jsonl:2: the text holds .ud83d, half of"):
        main([path, "--text=a", "--teacher=byte", "--student=byte"])


def test_fixture_of_the_notebook(shared_dir):
    """All mappings, costs and target probabilities of the authors' notebook, by the command."""
    command = [
        *(sys.executable, "-m", "tlm_jax.align"),
        str(shared_dir / "data" / "flant5_alignment_fixture.jsonl.gz"),
        f"--student={shared_dir / 'fixtures' / 'tokenizers' / 't5'}",
    ]
    finished = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1], env=os.environ
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == (
        "1 row by dtw: 40 of 40 mappings, 1 of 1 costs, 40 of 40 targets as recorded\n"
    )
    assert finished.stderr == ""


def test_a_wrong_argument_is_one_line():
    finished = subprocess.run(
        [sys.executable, "-m", "tlm_jax.align", "no_such_file.jsonl"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines() == ["error: no_such_file.jsonl: no such file."]
