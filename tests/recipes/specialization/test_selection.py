"""Choice of solutions: counts by each rule on small made dumps, worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
from little_sums import (
    DEV,
    LINE,
    STEP,
    TRAIN,
    tokens_of,
    written_question,
    written_sample,
    written_step,
)

from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.errors import UserError
from tlm_jax.evaluation.curation import Curation
from tlm_jax.recipes.specialization import selection
from tlm_jax.runs.cache_teacher.import_config import ImportConfig
from tlm_jax.teacher_cache import TeacherCache

ALL = Curation(distinct=None)
TWO, THREE = TRAIN[0], TRAIN[1]
"""1 + 1 and 1 + 2."""


def select(tmp_path, source, *, curation=ALL, rule=None, dev=(), asked=()):
    folder = tmp_path / "select"
    folder.mkdir(exist_ok=True)
    return selection.select(folder, source, asked, dev, curation, rule)


def kept(tmp_path) -> list[str]:
    return [record.id for record in read_records(tmp_path / "select" / selection.EXAMPLES)]


def left_out(tmp_path) -> dict[str, str]:
    rows = read_json_lines(tmp_path / "select" / selection.LEFT_OUT)
    return {row["id"]: row["left_out"] for _, row in rows}


def test_each_rule_counts_as_the_published_one(dump, tmp_path):
    """Right by the last number, then framed by the published tokens, then kept."""
    source = dump(
        written_question(
            0,
            TWO.question,
            TWO.answer,
            written_sample(0, tokens_of(TWO)),
            written_sample(1, tokens_of(TWO, "3")),
            written_sample(2, tokens_of(TWO), ending=(LINE,)),  # cut: counts as wrong there
            written_sample(3, tokens_of(TWO), ending=("\n\n", LINE)),
            written_sample(4, ["No", " idea"]),
            # A number with a sign or a comma is another one to the official rule.
            written_sample(5, [*tokens_of(TWO)[:-1], " -2"]),
        ),
        written_question(1, THREE.question, THREE.answer, written_sample(0, tokens_of(THREE, "4"))),
    )
    figures = select(tmp_path, source)
    assert figures == {
        "samples": 7,
        "right": 4,  # 0, 2, 3 and the 5th, of which -2 reads as 2
        "framed": 3,
        "wrong": 2,
        "kept": 3,
        "questions": 2,
        "kept_questions": 1,
        "questions_without": 1,
        "left_out": {"wrong": 2, selection.FRAME: 1, "no answer": 1},
    }
    assert kept(tmp_path) == ["codex-0-0", "codex-0-3", "codex-0-5"]
    assert left_out(tmp_path)["codex-0-2"] == selection.FRAME


def test_the_strict_rule_by_name(dump, tmp_path):
    samples = [written_sample(0, tokens_of(TWO)), written_sample(1, [*tokens_of(TWO)[:-1], " -2"])]
    source = dump(written_question(0, TWO.question, TWO.answer, *samples))
    assert select(tmp_path, source, rule="numeric")["right"] == 1
    assert kept(tmp_path) == ["codex-0-0"]


def test_doubled_solutions_stay_as_published_or_go(dump, tmp_path):
    samples = [written_sample(n, tokens_of(TWO)) for n in range(3)]
    source = dump(written_question(0, TWO.question, TWO.answer, *samples))
    assert select(tmp_path, source)["kept"] == 3
    # One row of the cache serves all three.
    assert len(TeacherCache.open([str(tmp_path / "select" / selection.CACHE)])) == 1
    assert json.loads((tmp_path / "select" / selection.CACHED).read_text())["rows"] == 1
    other = tmp_path / "other"
    other.mkdir()
    found = select(other, source, curation=Curation())
    assert found["kept"] == 1
    assert found["left_out"] == {"same text": 2}


def test_questions_of_the_development_set_are_never_trained_on(dump, tmp_path):
    known = DEV[0]
    source = dump(
        written_question(0, known.question, known.answer, written_sample(0, tokens_of(known))),
        written_question(1, TWO.question, TWO.answer, written_sample(0, tokens_of(TWO))),
    )
    figures = select(tmp_path, source, dev=DEV)
    assert figures["left_out"] == {selection.KNOWN: 1}
    assert [r.question for r in read_records(tmp_path / "select" / selection.EXAMPLES)] == [
        TWO.question
    ]


def test_odd_texts_and_probabilities_cost_no_other_solution(dump, tmp_path):
    end = "<|endoftext|>"
    odd = [("half", 0.0), (end, 0.05), (" zzz", 0.02)]
    over = [("a", 0.05), ("b", 0.03), ("c", 0.0201)]  # 1.0001 with the written token
    torn = written_sample(5, ["Well", LINE, *tokens_of(TWO)])
    source = dump(
        written_question(
            0,
            TWO.question,
            TWO.answer,
            written_sample(0, tokens_of(TWO), odd),
            written_sample(1, ["2", ".", LINE, "It", " is", " 2"], over),
            written_sample(2, [], text=""),
            written_sample(3, [*tokens_of(TWO), end]),
            written_sample(4, tokens_of(TWO), text="Hm. " + "".join(tokens_of(TWO))),
            torn[: torn.index("Per-step")],
        )
    )
    figures = select(tmp_path, source)
    assert figures["samples"] == 6
    assert kept(tmp_path)[:2] == ["codex-0-0", "codex-0-1"]
    assert left_out(tmp_path)["codex-0-2"] == "no answer"
    assert left_out(tmp_path)["codex-0-3"] == selection.UNUSABLE  # a special token in the text
    assert left_out(tmp_path)["codex-0-4"] == selection.UNUSABLE  # the tokens do not write it
    assert left_out(tmp_path)["codex-0-5"] == selection.UNUSABLE  # no line of steps
    cache = TeacherCache.open([str(tmp_path / "select" / selection.CACHE)])
    row = next(row for row in cache.rows() if row.example_id == "codex-0-0")
    names = {cache.table.texts[i] for i in row.steps.ids[0][row.steps.logprobs[0] > -99]}
    assert "half" not in names  # of probability 0 after rounding
    assert {"1", " zzz"} <= names


def test_questions_with_colons_survive_whole(dump, tmp_path):
    question = "Q: A ratio is 1: 1. Answer: what is 1 + 1: ?"
    solution = ["So", ":", " 1", ":", " 2", LINE, "The", " answer", " is", " 2"]
    source = dump(written_question(0, question, "2", written_sample(0, solution)))
    select(tmp_path, source)
    (record,) = read_records(tmp_path / "select" / selection.EXAMPLES)
    assert record.question == question
    assert record.rationale == "So: 1: 2"


def test_pickles_have_labels_of_their_own(tmp_path):
    step = [("2", 0.5), ("2", 0.5), ("3", 0.25)]
    frame = [[(STEP, 1.0)], [(LINE, 1.0)]], [[(LINE, 1.0)], [(LINE, 1.0)]]
    folder = tmp_path / "pickles"
    folder.mkdir()
    held = {
        "codex_questions": [f"Question 0: {TWO.question}\n", f"Question 1: {THREE.question}\n"],
        "codex_answers": ["Answer: x\n#### 2\n", "Answer: x\n#### 3\n"],
        "codex_predictions": [["Model output 0: \n2\n", "Model output 1: \n2\n"], []],
        "codex_per_step_probs": [[[*frame[0], step, *frame[1]]] * 2, []],
        "codex_updated_labels": [[1, 0], []],
    }
    for name, value in held.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))
    source = ImportConfig("codex_pickles", (folder,), Path("unused"), "codex")
    figures = select(tmp_path, source)
    assert (figures["samples"], figures["right"], figures["kept"]) == (2, 1, 1)
    (tmp_path / "again").mkdir()
    # Graded anew both are right.
    assert select(tmp_path / "again", source, rule="numeric")["right"] == 2


def test_questions_without_a_right_solution_are_counted(dump, tmp_path):
    source = dump(written_question(0, TWO.question, TWO.answer, written_sample(0, tokens_of(TWO))))
    figures = select(tmp_path, source, asked=TRAIN[:3])
    assert (figures["questions"], figures["questions_without"]) == (3, 2)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([tokens_of(TWO, "9")], r"none of 1 solutions .* \(1 wrong\): ask a better teacher"),
        ([["Who", " knows"]], r"\(1 no answer\): no answer was found in any: look at the samples"),
    ],
)
def test_nothing_kept_is_told_with_the_reasons(dump, tmp_path, samples, message):
    written = [written_sample(n, tokens) for n, tokens in enumerate(samples)]
    source = dump(written_question(0, TWO.question, TWO.answer, *written))
    with pytest.raises(UserError, match=message):
        select(tmp_path, source)


def test_the_first_that_can_be_kept_is_kept(dump, tmp_path):
    samples = [
        written_sample(0, tokens_of(TWO), ending=(LINE,)),
        written_sample(1, tokens_of(TWO)),
    ]
    source = dump(written_question(0, TWO.question, TWO.answer, *samples))
    select(tmp_path, source, curation=dataclasses.replace(ALL, distinct="text"))
    assert kept(tmp_path) == ["codex-0-1"]


def test_a_step_is_written_as_the_official_script_does():
    assert written_step("a") == "<<'a'>> 0.9000 <<'a'>> 0.9000 ||| "
