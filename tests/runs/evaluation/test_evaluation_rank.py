"""Rank classification of listed options, of TeacherLM's contexts and of published prompts."""

import json

import pytest

from tlm_jax.errors import UserError

LIST = "\nOptions:\n(A) dogs\n(B) cats"


def choice(question, answer):
    return {"kind": "choice", "question": question, "options": ["dogs", "cats"], "answer": answer}


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_records):
    """Questions of BIG-Bench Hard's forms, and of TeacherLM's."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        (f"Q: dogs can fly{LIST}", "(B)", "snarks"),
        (f"cats can bark well{LIST}", "(A)", "snarks"),
        (f"cats can bark{LIST}", "birds", "snarks"),
        ("dogs can sing\nOptions:\n- Yes\n- No", "No", "navigate"),
        ("birds can sing", "Yes", "web_of_lies"),
        ("dogs cats", "cats dogs", "word_sorting"),
    ]
    write_records(
        folder / "bbh.jsonl",
        [
            {"kind": "text", "question": q, "answer": a, "meta": {"task": task}}
            for q, a, task in rows
        ],
    )
    asked = [choice("dogs can bark", "A"), choice("birds can fly well", "B")]
    write_records(folder / "teacherlm_eval_creak.jsonl", asked)
    return folder


def lines(output, name, task):
    path = output / "samples" / name / task / "rank.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_options_in_the_question(evaluate, data, tmp_path, capsys):
    results = evaluate(
        tmp_path,
        EVAL_TASKS=["bbh_answer_zero_shot"],
        EVAL_SPLIT="test",
        MODES=["rank"],
        DATA_DIR=str(data),
    )
    (row,) = results["results"]
    assert (row["questions"], row["ungraded"]) == (4, 2)
    assert row["unreadable_answers"] == ["bbh-2"]
    assert "boundary" not in row  # prompts end with their end token
    found = lines(tmp_path, "one", "bbh_answer_zero_shot")
    options = [["(A)", "(B)"]] * 2 + [["Yes", "No"]] * 2
    for line, allowed in zip(found, options, strict=True):
        assert line["answer"] in allowed
        assert line["right"] == (line["answer"] == line["gold"])
        ranking = line["samples"][0]["text"].split("\n")
        assert ranking[0].split("  ")[0] == f"The answer is {line['answer']}"
        assert len(ranking) == 2
        assert (line["margin"] > 0) == line["right"]
    assert [g["group"] for g in row["by"]["task"]["groups"]] == [
        "navigate",
        "snarks",
        "web_of_lies",
    ]
    said = capsys.readouterr().out
    assert "the right answer of 1 questions of bbh_answer_zero_shot cannot be read" in said
    assert "mean over 3 tasks" in said


def test_teacherlm_contexts_and_their_border(evaluate, world, data, tmp_path, capsys):
    results = evaluate(
        tmp_path,
        CHECKPOINTS=[str(world / name) for name in ("one", "t5")],
        EVAL_TASKS=["teacherlm_eval_creak_answer_zero_shot"],
        EVAL_SPLIT="test",
        MODES=["rank"],
        RANK_FORMAT="teacherlm",
        DATA_DIR=str(data),
    )
    decoder, t5 = results["results"]
    # The tokenizer knows `(A` and `(B`, which training has seen in their place.
    assert decoder["boundary"] == {"different": 4, "pairs": 4}
    assert "boundary" not in t5
    said = capsys.readouterr().out
    assert "4 of 4 continuations are other tokens when encoded together" in said
    for name in ("one", "t5"):
        found = lines(tmp_path, name, "teacherlm_eval_creak_answer_zero_shot")
        assert [line["prompt"] for line in found] == [
            "Q: dogs can bark (A) dogs (B) cats A: The answer is (",
            "Q: birds can fly well (A) dogs (B) cats A: The answer is (",
        ]
        assert {line["samples"][0]["text"].split("  ")[0] for line in found} <= {"A", "B"}


def test_an_answer_after_a_chain_of_thought_prompt_needs_its_template(evaluate, tmp_path):
    settings = {"EVAL_TASKS": ["creak_cot_zero_shot"], "MODES": ["rank"]}
    with pytest.raises(UserError, match="'rank' needs questions with options"):
        evaluate(tmp_path / "none", **settings)
    results = evaluate(tmp_path / "some", **settings, RANK_CONTINUATION="So {answer}")
    assert results["results"][0]["questions"] == 8
    found = lines(tmp_path / "some", "one", "creak_cot_zero_shot")
    assert {line["samples"][0]["text"].split("  ")[0] for line in found} <= {"So yes", "So no"}


def test_contexts_that_are_too_long(evaluate, data, tmp_path):
    settings = {
        "EVAL_TASKS": ["teacherlm_eval_creak_answer_zero_shot"],
        "EVAL_SPLIT": "test",
        "MODES": ["rank"],
        "RANK_FORMAT": "teacherlm",
        "DATA_DIR": str(data),
        "TASK_FEATURE_LENGTHS": {"inputs": 13, "targets": 2},
    }
    with pytest.raises(UserError, match=r"1 of 2 contexts of .* 'teacherlm_eval_creak-1' with 14"):
        evaluate(tmp_path / "error", **settings)
    results = evaluate(tmp_path / "cut", **settings, TOO_LONG="keep_end")
    assert results["results"][0]["truncated_prompts"] == 0  # 14 tokens and BOS fit beside a letter
    settings["TASK_FEATURE_LENGTHS"] = {"inputs": 8, "targets": 2}
    results = evaluate(tmp_path / "shorter", **settings, TOO_LONG="keep_end")
    assert results["results"][0]["truncated_prompts"] == 2
