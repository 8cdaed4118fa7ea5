"""New questions: seeds, what is read of a model's answers, and answers by majority."""

from __future__ import annotations

import collections

import pytest
from little_apples import TRAIN

from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.errors import UserError
from tlm_jax.recipes.lema import evolution
from tlm_jax.recipes.lema.evolution import Evolution, answered, created, listed, seeds
from tlm_jax.recipes.lema.speaking import Speaking


def test_seeds_are_drawn_with_replacement_from_questions_with_a_correction(wrong_of):
    kept = [wrong_of(record, model) for record in TRAIN[:3] for model in "ab"]
    drawn = seeds(kept, 20, 0)
    assert [record.id for record in drawn] == [f"seed-{n}" for n in range(20)]
    assert {record.question for record in drawn} == {record.question for record in TRAIN[:3]}
    assert [r.question for r in drawn] == [r.question for r in seeds(kept, 20, 0)]
    assert [r.question for r in drawn] != [r.question for r in seeds(kept, 20, 1)]
    prompt = evolution.prompt(drawn[0])
    assert prompt.endswith(f"#Given Question#:\n{drawn[0].question}\n\n#Created Question#:\n")


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("How many pears?", "How many pears?"),
        ("#Created Question#:\nHow many\npears?\n\nThe answer is 3.", "How many pears?"),
        ("How many pears?\n\n#Given Question#:\nAnother?", "How many pears?"),
        ("\n\n", ""),
    ],
)
def test_questions_are_read(text, question):
    assert evolution.read_question(text) == question


def test_new_questions_are_new(lines):
    texts = ["1 and 1 apples?", "3 pears and 4?", "", "3 pears, and 4?"]
    path = lines("samples.jsonl", [{"id": f"seed-{n}", "text": t} for n, t in enumerate(texts)])
    found, dropped = created(path, TRAIN[:1], "apples")
    assert [(r.id, r.question, r.dataset) for r in found] == [
        ("evolved-0", "3 pears and 4?", "apples_evolved")
    ]
    assert dropped == {evolution.SAME_QUESTION: 2, evolution.NO_QUESTION: 1}


def test_questions_of_a_file(lines):
    found, dropped = listed(lines("q.jsonl", [{"question": "How many?"}, {}]), "apples")
    assert [record.question for record in found] == ["How many?"]
    assert dropped == {evolution.NO_QUESTION: 1}


def test_the_majority_answers_and_what_all_differ_on_is_dropped(tmp_path, lines):
    asked, _ = listed(lines("q.jsonl", [{"question": f"{n} pears?"} for n in range(4)]), "a")
    told = {
        "evolved-0": ["So 4.\nThe answer is 4", "Well.\nThe answer is 5", "x\nThe answer is 5.0"],
        "evolved-1": ["The answer is 1", "The answer is 2", "The answer is 3"],
        "evolved-2": ["hm", "hm", "hm"],
        "evolved-3": ["hm", "hm", "The answer is 3"],
    }
    samples = lines(
        "s.jsonl", [{"id": name, "text": text} for name, texts in told.items() for text in texts]
    )
    figures = answered(tmp_path, asked, samples, "numeric", collections.Counter())
    (record,) = read_records(tmp_path / evolution.EVOLVED)
    assert (record.answer, record.kind) == ("5", "numeric")
    assert record.rationale == "Well.\nThe answer is 5"
    assert figures["dropped"] == {evolution.ALL_DIFFER: 2, evolution.NO_ANSWERS: 1}
    assert [row["reason"] for _, row in read_json_lines(tmp_path / evolution.DROPPED)] == [
        evolution.ALL_DIFFER,
        evolution.NO_ANSWERS,
        evolution.ALL_DIFFER,
    ]


def test_nothing_evolved(tmp_path, lines):
    asked, dropped = listed(lines("q.jsonl", [{"question": "Pears?"}, {}]), "a")
    samples = lines("s.jsonl", [{"id": "evolved-0", "text": "hm"}])
    with pytest.raises(UserError, match="evolution made no question with an answer") as caught:
        answered(tmp_path, asked, samples, "numeric", dropped)
    assert "1 no question, 1 no answers" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "questions of a model or of a file: set one of the two"),
        ({"file": "x"}, "set one of the two"),
        ({"num_seeds": 0}, "NUM_SEEDS is 0, expected at least 1"),
        ({"rounds": 3}, "EVOLUTION_ROUNDS is 3, expected 1 or 2"),
    ],
)
def test_settings(fields, message):
    with pytest.raises(UserError, match=message):
        Evolution(
            **{"model": "m", "speaking": Speaking(), "solver": "m", "solving": Speaking(), **fields}
        )
