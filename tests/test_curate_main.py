"""`python -m tlm_jax.curate` parts a file of solutions in two, and says why."""

import json

import pytest

from tlm_jax.curate import main
from tlm_jax.errors import UserError

ROWS = [
    {"id": "a", "question": "What is 2 + 2?", "text": "2 + 2 = 4. The answer is 4", "gold": "4"},
    {"id": "a", "question": "What is 2 + 2?", "text": "It is 2+2=4. The answer is 4", "gold": "4"},
    {"id": "a", "question": "What is 2 + 2?", "text": "The answer is 5 \ud83d", "gold": "4"},
    {"id": "b", "question": "What is 1 + 2?", "text": "The answer is 3", "gold": 3},
]
GRADED = [{**row, "correct": "5" not in row["text"], "extracted": "1"} for row in ROWS]


@pytest.fixture
def write(tmp_path):
    def write(rows, name="in.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def _read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_files_and_a_table(write, tmp_path, capsys):
    out = tmp_path / "new" / "kept.jsonl"
    assert main([write(GRADED), str(out), "--distinct=equations"]) == 0
    assert _read(out) == [GRADED[0], GRADED[3]]
    left_out = _read(tmp_path / "new" / "kept.left_out.jsonl")
    assert left_out == [
        {**GRADED[1], "left_out": "same equations"},
        {**GRADED[2], "left_out": "wrong"},
    ]
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in ("kept 2 50.0%", "same equations 1 25.0%", "wrong 1 25.0%", "in all 4"):
        assert row.split() in cells
    assert ["of", "2", "of", "2", "questions"] in cells


def test_graded_anew_by_a_rule(write, tmp_path):
    source = write([{**row, "correct": False} for row in ROWS])
    out = tmp_path / "kept.jsonl"
    assert main([source, str(out), "--rule=numeric"]) == 0
    assert [row["text"] for row in _read(out)] == [ROWS[n]["text"] for n in (0, 1, 3)]


def test_wrong_paths(write, tmp_path):
    out = tmp_path / "wrong.jsonl"
    main([write(GRADED), str(out), "--keep=wrong", f"--left_out={tmp_path / 'rest.jsonl'}"])
    assert _read(out) == [GRADED[2]]
    assert [row["left_out"] for row in _read(tmp_path / "rest.jsonl")] == ["right"] * 3


def test_questions_of_a_file_are_left_out(write, tmp_path):
    test = {"id": "t", "dataset": "t", "split": "test", "kind": "numeric", "answer": "3"}
    held_out = write([{**test, "question": "what is 1 + 2"}], "held_out.jsonl")
    out = tmp_path / "kept.jsonl"
    main([write(GRADED), str(out), f"--test_set={held_out}"])
    assert {row["id"] for row in _read(out)} == {"a"}


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        ([], [], r"in\.jsonl: holds no solutions\."),
        (
            [{"id": "a", "solution": "x", "question": "q"}],
            [],
            r"in\.jsonl:1: no text in the field 'text' or 'rationale'; --text=FIELD names another\."
            r" It has: id, solution, question\.",
        ),
        ([{**ROWS[0], "correct": "yes"}], [], "'correct' must be true or false, got 'yes'"),
        ([{**ROWS[0], "options": "AB"}], [], "the options must be a list of texts, got 'AB'"),
        (ROWS, ["--rule=numerical"], "no grading rule 'numerical'"),
        (ROWS, ["--per_question=0"], "per_question must be 1 or more"),
        (ROWS, ["--test_set=word_problems_easy_cot_zero_shot:train"], "'train' has no end"),
        (ROWS, ["--test_set=no_such_task"], "no_such_task"),
    ],
)
def test_errors_are_one_line_and_write_nothing(write, tmp_path, rows, flags, message):
    source = write(rows)
    with pytest.raises(UserError, match=message) as error:
        main([source, str(tmp_path / "kept.jsonl"), *flags])
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_source_is_never_written_over(write, tmp_path):
    source = write(GRADED)
    with pytest.raises(UserError, match="must be three files"):
        main([source, source])
    assert _read(tmp_path / "in.jsonl") == GRADED
