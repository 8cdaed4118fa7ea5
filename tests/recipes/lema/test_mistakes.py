"""Wrong paths of files and samples: which are taken, and why the others are not."""

from __future__ import annotations

import pytest
from little_apples import DEV, TRAIN, apples

from tlm_jax.data.records import read_json_lines, read_records, write_records
from tlm_jax.errors import UserError
from tlm_jax.recipes.lema import mistakes
from tlm_jax.recipes.lema.forms import Numbered
from tlm_jax.recipes.lema.mistakes import (
    KnownQuestions,
    Solution,
    collect,
    in_files,
    wrong_files,
)

QUESTION = apples(2, 3)


def collected(tmp_path, texts, *, record=QUESTION, dev=(), most=None, rule=None, **fields):
    solutions = (Solution(record, "m", text, **fields) for text in texts)
    return collect(tmp_path, solutions, Numbered(), rule=rule, dev=dev, most=most)


def left_out(tmp_path):
    return [row["reason"] for _, row in read_json_lines(tmp_path / mistakes.LEFT_OUT)]


def test_a_wrong_path_is_numbered_and_kept(tmp_path):
    figures = collected(tmp_path, ["It is 2 + 3 = 6.\nThe answer is 6", "5.\nThe answer is 5"])
    (path,) = read_records(tmp_path / mistakes.WRONG)
    assert path.id == "2+3/m/0"
    assert path.get("path") == ["It is 2 + 3 = 6.", "The answer is 6."]
    assert (path.get("question_id"), path.get("model")) == ("2+3", "m")
    assert path.get("wrong_prediction") == "6"
    assert path.rationale == QUESTION.rationale
    (right,) = read_records(tmp_path / mistakes.RIGHT_FILE)
    assert right.get("path") == ["5.", "The answer is 5."]
    assert (figures["wrong"], figures["right"], figures["solutions"]) == (1, 1, 2)
    assert figures["by_model"] == {"m": {"wrong": 1, "right": 1}}


@pytest.mark.parametrize(
    ("texts", "fields", "reasons"),
    [
        (["The answer is 6"], {}, [mistakes.FEW_STEPS]),
        (["I do not know."], {}, [mistakes.NO_ANSWER]),
        (["It is 2 + 3 = 6, so"], {"finished": False}, [mistakes.CUT_OFF]),
        # Right after normalisation, though its file says wrong.
        (["So.\nThe answer is $5.00"], {"labelled_wrong": True}, [mistakes.RIGHT_AFTER_ALL]),
    ],
)
def test_what_is_no_wrong_path_has_its_reason(tmp_path, texts, fields, reasons):
    with pytest.raises(UserError, match="no solution is a wrong path") as caught:
        collected(tmp_path, texts, **fields)
    assert f"1 {reasons[0]}" in str(caught.value)
    assert "ask harder questions" in str(caught.value)


def test_the_same_path_and_more_than_enough(tmp_path):
    # A right path is none of the two.
    texts = [f"It is {n}.\nThe answer is {n}" for n in (5, 6, 6, 7, 8)]
    figures = collected(tmp_path, texts, most=2)
    assert figures["wrong"] == 2
    assert left_out(tmp_path) == [mistakes.SAME, mistakes.SURPLUS]
    assert figures["left_out"] == {mistakes.SAME: 1, mistakes.SURPLUS: 1}


def test_questions_of_the_development_set_stay_out(tmp_path):
    solutions = [
        Solution(DEV[0], "m", "Hm.\nThe answer is 1"),
        Solution(QUESTION, "m", "Hm.\nThe answer is 1"),
    ]
    collect(tmp_path, iter(solutions), Numbered(), rule=None, dev=DEV, most=None)
    assert left_out(tmp_path) == [mistakes.IN_DEV]


def test_no_gold_answer(tmp_path):
    bare = apples(2, 3)
    bare = bare.__class__("x", "d", "train", "text", "Why?", None, "")
    with pytest.raises(UserError, match=mistakes.UNREADABLE_GOLD):
        collected(tmp_path, ["So.\nThe answer is 5"], record=bare)


def test_a_rule_by_name(tmp_path):
    # Theirs: no answer is 0, and so a wrong one.
    figures = collected(
        tmp_path, ["Some.\nThe answer is five.", "So.\nThe answer is 6"],
        rule="official_the_answer_is",
    )  # fmt: skip
    assert figures["wrong"] == 2


def test_files_of_all_kinds(tmp_path, lines, wrong_of):
    question = {"question": QUESTION.question, "gold": "5", "rule": "numeric", "id": "q"}
    samples = lines(
        "samples.jsonl",
        [{**question, "text": "2 + 3 = 7\nThe answer is 7", "finish_reason": "eos", "model": "s"}],
    )
    star = lines(
        "star/seed-0/plain/loop-01/select/wrong.jsonl",
        [{**question, "text": "2 + 3 = 8\nThe answer is 8", "finish_reason": "eos", "model": "t"}],
    )
    own = tmp_path / "own.jsonl"
    write_records(own, [wrong_of(QUESTION)])
    gsm8k = lines(
        "solutions.jsonl",
        [
            {
                "id": "g", "dataset": "gsm8k", "split": "test", "kind": "numeric",
                "question": "How many?", "answer": "4",
                "meta": {"solutions": [{"model": "6b", "solution": "2+1=3\nA: 3",
                                        "is_correct": False}]},
            }
        ],
    )  # fmt: skip
    known = KnownQuestions(TRAIN)
    names = [str(samples), str(tmp_path / "star"), str(own), str(gsm8k)]
    found = list(in_files(wrong_files(names), known))
    assert [one.model for one in found] == ["s", "t", "m", "6b"]
    # The data set's own record, with its solution, where it is one of its questions.
    assert [one.record.id for one in found] == ["2+3", "2+3", "2+3", "g"]
    assert found[0].record.rationale == QUESTION.rationale
    assert star.is_file()


def test_files_that_are_none(tmp_path, lines):
    with pytest.raises(UserError, match=r"expected solutions in `meta\.solutions`"):
        list(in_files([lines("x.jsonl", [{"text": "7"}])], KnownQuestions([])))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no file below it is called wrong\.jsonl"):
        wrong_files([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="no such file"):
        list(in_files([tmp_path / "none.jsonl"], KnownQuestions([])))


def test_real_solutions(tmp_path, shared_dir):
    paths = wrong_files(["gsm8k_model_solutions.jsonl.gz"], shared_dir / "data")
    solutions = in_files(paths, KnownQuestions([]))
    figures = collect(tmp_path, solutions, Numbered(), rule=None, dev=(), most=None, total=100)
    assert figures["solutions"] == 2640
    left_out = sum(figures["left_out"].values())
    assert figures["wrong_found"] + left_out + figures["right"] == 2640
    assert figures["wrong_found"] > 1500
    assert len(list(read_records(tmp_path / mistakes.WRONG))) == figures["wrong"] == 100
    assert set(figures["by_model"]) == {
        "6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification",
    }  # fmt: skip
