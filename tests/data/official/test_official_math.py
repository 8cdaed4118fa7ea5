"""Official files of the arithmetic data sets, in small."""

import json

import pytest

from tlm_jax.data.official.math import (
    is_number,
    last_boxed,
    plain_number,
    read_asdiv,
    read_gsm8k,
    read_math,
    read_multiarith,
    read_svamp,
    without_unit,
)
from tlm_jax.data.records import read_records
from tlm_jax.errors import UserError


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_gsm8k(tmp_path):
    row = {"question": "How many?", "answer": "48/2 = <<48/2=24>>24.\nSo 1,024.\n#### 1,024"}
    (record,) = read_gsm8k(write(tmp_path / "train.jsonl", row), "train")
    assert (record.id, record.kind, record.answer) == ("gsm8k-train-0", "numeric", "1024")
    assert record.rationale == "48/2 = <<48/2=24>>24.\nSo 1,024."
    assert record.meta == {"answer_raw": "1,024"}
    broken = write(tmp_path / "broken.jsonl", {"question": "q", "answer": "no mark"})
    with pytest.raises(UserError, match=r"broken.jsonl:1: the answer has no line .* '#### '"):
        list(read_gsm8k(broken, "train"))
    with pytest.raises(UserError, match="the field 'answer' is missing; there is question"):
        list(read_gsm8k(write(tmp_path / "m.jsonl", {"question": "q"}), "train"))


def test_gsm8k_equals_the_uniform_records(tmp_path, shared_dir):
    uniform = list(read_records(shared_dir / "data/gsm8k_test.jsonl.gz"))[:200]
    rows = [
        {"question": r.question, "answer": f"{r.rationale}\n#### {r.meta['answer_raw']}"}
        for r in uniform
    ]
    path = write(tmp_path / "test.jsonl", "\n".join(map(json.dumps, rows)))
    assert list(read_gsm8k(path, "test")) == uniform


def test_svamp(tmp_path):
    rows = [
        {
            "ID": "chal-1",
            "Body": "Each pack costs 76 dollars",
            "Question": "How much?",
            "Equation": "( 76.0 - 25.0 )",
            "Answer": 51.0,
            "Type": "Subtraction",
        },
        {"ID": "chal-2", "Body": "It ends.", "Question": "So?", "Answer": "3"},
    ]
    one, two = read_svamp(write(tmp_path / "SVAMP.json", rows), "test")
    assert (one.question, one.answer) == ("Each pack costs 76 dollars. How much?", "51")
    assert one.meta["body"] == "Each pack costs 76 dollars"
    assert two.question == "It ends. So?"


def test_asdiv(tmp_path):
    problem = (
        '<Problem ID="{id}" Grade="1" Source="s"><Body>7 red &amp; 2 green.</Body>'
        "<Question>How many?</Question><Solution-Type>Addition</Solution-Type>"
        "<Answer>{answer}</Answer><Formula>7+2=9</Formula></Problem>"
    )
    problems = [
        problem.format(id=i, answer=a)
        for i, a in enumerate(("9 (apples)", "6:30 pm", "2.5", "10 (m); 4 (m)"))
    ]
    text = (
        f"<Machine-Reading-Corpus-File><ProblemSet>{''.join(problems)}</ProblemSet>"
        "</Machine-Reading-Corpus-File>"
    )
    records = list(read_asdiv(write(tmp_path / "ASDiv.xml", text), "test"))
    assert [(r.kind, r.answer) for r in records] == [
        ("numeric", "9"),
        ("text", "6:30 pm"),
        ("numeric", "2.5"),
        ("text", "10 (m); 4 (m)"),
    ]
    assert records[0].question == "7 red & 2 green. How many?"
    assert records[0].meta["formula"] == "7+2=9"
    with pytest.raises(UserError, match=r"bad.xml: not valid XML"):
        list(read_asdiv(write(tmp_path / "bad.xml", "<a>"), "test"))


def test_asdiv_rule_gives_the_published_number_of_numeric_items(shared_dir):
    records = list(read_records(shared_dir / "data/asdiv.jsonl.gz"))
    numeric = [is_number(without_unit(r.meta["answer_raw"])) for r in records]
    assert sum(numeric) == 2084
    assert numeric == [r.kind == "numeric" for r in records]


def test_multiarith(tmp_path):
    rows = [{"iIndex": 3, "sQuestion": " How  many? ", "lSolutions": [39.0], "lEquations": ["X=1"]}]
    (record,) = read_multiarith(write(tmp_path / "M.json", rows), "test")
    assert (record.id, record.question, record.answer) == ("multiarith-3", "How many?", "39")
    with pytest.raises(UserError, match=r"item 0: expected one number in lSolutions"):
        list(read_multiarith(write(tmp_path / "N.json", [{**rows[0], "lSolutions": []}]), "t"))


def test_math_as_a_folder_and_as_lines(tmp_path):
    row = {
        "problem": "p?",
        "level": "Level 5",
        "type": "Algebra",
        "solution": "so \\boxed{1} or \\boxed{\\frac{1}{2}}.",
    }
    folder = tmp_path / "MATH/train/algebra"
    folder.mkdir(parents=True)
    write(folder / "1.json", row)
    write(folder / "2.json", {**row, "solution": "none"})
    one, two = read_math(tmp_path / "MATH/train", "train")
    assert (one.answer, one.meta) == ("\\frac{1}{2}", {"level": "Level 5", "subject": "Algebra"})
    assert two.answer == ""
    lines = write(tmp_path / "m.jsonl", {"question": "p?", "solution": "s", "answer": 7})
    (record,) = read_math(lines, "test")
    assert (record.question, record.answer) == ("p?", "7")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("\\boxed{a{b}c} x", "a{b}c"),
        ("\\fbox{3}", "3"),
        ("$\\boxed 5$.", "5"),
        ("\\boxed{unclosed", None),
        ("nothing", None),
        ("\\boxed{}", ""),
    ],
)
def test_last_boxed(solution, answer):
    assert last_boxed(solution) == answer


def test_boxed_answers_equal_the_uniform_records(shared_dir):
    records = list(read_records(shared_dir / "data/math_test.jsonl.gz"))
    equal = sum(last_boxed(r.rationale) == r.answer for r in records)
    assert equal / len(records) > 0.99


def test_plain_numbers():
    assert [plain_number(v) for v in (39.0, "1,000", 2.5, "-3.0", 7)] == [
        "39",
        "1000",
        "2.5",
        "-3",
        "7",
    ]
