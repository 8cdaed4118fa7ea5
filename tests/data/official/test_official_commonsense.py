"""Official files of the commonsense and entailment data sets, in small."""

import csv
import json

import pytest

from tlm_jax.data.official.commonsense import (
    SENSE_QUESTION,
    read_commonsenseqa,
    read_creak,
    read_ecqa,
    read_esnli,
    read_esnli_train,
    read_qasc,
    read_qed,
    read_sensemaking,
    read_strategyqa,
)
from tlm_jax.data.records import read_records
from tlm_jax.errors import UserError


def lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def table(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def csqa_row(record):
    letters = "ABCDE"
    choices = [{"label": letters[i], "text": o} for i, o in enumerate(record.options)]
    return {
        "answerKey": record.answer,
        "id": record.id,
        "question": {
            "question_concept": record.meta["concept"],
            # Some files do not have the choices in order.
            "choices": choices[::-1],
            "stem": record.question,
        },
    }


def test_commonsenseqa_equals_the_uniform_records(tmp_path, shared_dir):
    uniform = list(read_records(shared_dir / "data/commonsenseqa_dev.jsonl.gz"))[:200]
    path = lines(tmp_path / "dev_rand_split.jsonl", *map(csqa_row, uniform))
    assert list(read_commonsenseqa(path, "dev")) == uniform


def test_commonsenseqa_without_labels_and_with_odd_labels(tmp_path):
    question = {"stem": "s", "choices": [{"label": "A", "text": "x"}, {"label": "C", "text": "y"}]}
    with pytest.raises(UserError, match=r"labelled A, B, \.\.\., got 'AC'"):
        list(
            read_commonsenseqa(
                lines(tmp_path / "a", {"answerKey": "A", "id": "1", "question": question}), "dev"
            )
        )
    question["choices"][1]["label"] = "B"
    with pytest.raises(UserError, match=r"b:1: the field 'answerKey' is missing"):
        list(read_commonsenseqa(lines(tmp_path / "b", {"id": "1", "question": question}), "dev"))


def test_qasc(tmp_path):
    row = {
        "id": "3E7TUJ2EGCLQNOV1WEAJ2NN9ROPD9K",
        "question": {
            "stem": "What forms beads?",
            "choices": [{"text": "water", "label": "A"}, {"text": "vapor", "label": "B"}],
        },
        "answerKey": "B",
        "fact1": "beads of water form by condensing vapor.",
        "fact2": "Vapor condenses",
        "combinedfact": "vapor forms beads",
        "formatted_question": "x",
    }
    (record,) = read_qasc(lines(tmp_path / "train.jsonl", row), "train")
    assert (record.question, record.options, record.answer) == (
        "What forms beads?",
        ("water", "vapor"),
        "B",
    )
    assert record.rationale == (
        "Beads of water form by condensing vapor. Vapor condenses. Vapor forms beads."
    )


def test_creak_and_strategyqa_equal_the_uniform_records(tmp_path, shared_dir):
    uniform = list(read_records(shared_dir / "data/creak_dev.jsonl.gz"))[:100]
    rows = [
        {"ex_id": r.id, "sentence": r.question, "explanation": r.rationale, **r.meta}
        for r in uniform
    ]
    assert list(read_creak(lines(tmp_path / "dev.json", *rows), "dev")) == uniform
    uniform = list(read_records(shared_dir / "data/strategyqa_dev.jsonl.gz"))
    rows = [
        {"qid": r.id, "question": r.question, "answer": r.answer == "yes", **r.meta}
        for r in uniform
    ]
    path = tmp_path / "dev_strategy.json"
    path.write_text(json.dumps(rows))
    assert list(read_strategyqa(path, "dev")) == uniform


def test_labels_that_are_neither_true_nor_false_are_named(tmp_path):
    with pytest.raises(UserError, match="label must be 'true' or 'false', got 'maybe'"):
        list(read_creak(lines(tmp_path / "c", {"sentence": "s", "label": "maybe"}), "dev"))
    path = tmp_path / "s.json"
    path.write_text(json.dumps([{"question": "q", "answer": "yes"}]))
    with pytest.raises(UserError, match="item 0: the answer must be true or false, got 'yes'"):
        list(read_strategyqa(path, "dev"))
    path.write_text("{}")
    with pytest.raises(UserError, match="expected a JSON list, got dict"):
        list(read_strategyqa(path, "dev"))


def test_ecqa_equals_teacher_lms_test_split(tmp_path, shared_dir):
    uniform = list(read_records(shared_dir / "data/teacherlm_eval_ecqa.jsonl.gz"))[:100]
    rows = [
        {
            "": i,
            "q_no": r.id,
            "q_concept": r.meta["concept"],
            "q_text": r.question,
            **{f"q_op{k + 1}": o for k, o in enumerate(r.options)},
            "q_ans": r.answer_text(),
            "taskA_pos": r.meta["pos"],
            "taskA_neg": r.meta["neg"],
            "taskB": r.meta["freeflow"],
        }
        for i, r in enumerate(uniform)
    ]
    records = list(read_ecqa(table(tmp_path / "cqa_data_test.csv", *rows), "test"))
    for mine, theirs in zip(records, uniform, strict=True):
        # By text: the table does not say which of two equal options is meant.
        assert (mine.id, mine.question, mine.options, mine.answer_text(), mine.rationale) == (
            theirs.id,
            theirs.question,
            theirs.options,
            theirs.answer_text(),
            theirs.rationale,
        )
        assert (mine.meta["pos"], mine.meta["neg"]) == (theirs.meta["pos"], theirs.meta["neg"])


def test_ecqa_answers_must_be_options_and_rows_whole(tmp_path):
    row = {"q_no": "1", "q_text": "q", **{f"q_op{k}": str(k) for k in range(1, 6)}, "q_ans": "9"}
    with pytest.raises(UserError, match=r"e.csv:2: the answer '9' is none of the options"):
        list(read_ecqa(table(tmp_path / "e.csv", row), "test"))
    (tmp_path / "f.csv").write_text("q_no,q_text\n1\n")
    with pytest.raises(UserError, match=r"f.csv:2: this row has not the 2 columns"):
        list(read_ecqa(tmp_path / "f.csv", "test"))


def test_sensemaking_puts_either_statement_first_and_grades_the_senseless_one(tmp_path):
    rows = [
        {
            "Correct Statement": f"He drinks milk {i}.",
            "Incorrect Statement": f"He drinks apple {i}.",
            "Right Reason1": 'Apples, "whole", are food.',
            "Confusing Reason1": "c",
            "Right Reason2": "r2",
        }
        for i in range(40)
    ]
    records = list(read_sensemaking(table(tmp_path / "train.csv", *rows), "train"))
    assert {r.answer for r in records} == {"A", "B"}
    for i, record in enumerate(records):
        assert record.answer_text() == f"He drinks apple {i}."
        assert record.question == SENSE_QUESTION
        assert record.rationale == 'Apples, "whole", are food.'
        assert record.meta["reasons"] == ['Apples, "whole", are food.', "r2"]


def esnli_rows(*labels):
    return [
        {
            "pairID": f"{i}.jpg",
            "gold_label": label,
            "Sentence1": "A man.",
            "Sentence2": "B.",
            "Explanation_1": "one",
            "Explanation_2": "",
            "Explanation_3": "three",
        }
        for i, label in enumerate(labels)
    ]


def test_esnli(tmp_path):
    path = table(tmp_path / "esnli_dev.csv", *esnli_rows("neutral", "-", "contradiction"))
    records = list(read_esnli(path, "dev"))
    assert [r.answer for r in records] == ["B", "C"]
    assert records[0].question == "Premise: A man.\nHypothesis: B."
    assert records[0].options == ("entailment", "neutral", "contradiction")
    assert records[0].rationale == "one"
    assert records[0].meta["explanations"] == ["one", "three"]
    bad = table(tmp_path / "bad.csv", *esnli_rows("perhaps"))
    with pytest.raises(UserError, match=r"bad.csv:2: the label must be one of entailment"):
        list(read_esnli(bad, "dev"))


def test_esnli_training_is_two_files(tmp_path):
    first = table(tmp_path / "esnli_train_1.csv", *esnli_rows("neutral"))
    with pytest.raises(UserError, match=r"esnli_train_2\.csv: this second part"):
        list(read_esnli_train(first, "train"))
    table(tmp_path / "esnli_train_2.csv", *esnli_rows("entailment", "neutral"))
    assert [r.answer for r in read_esnli_train(first, "train")] == ["B", "A", "B"]


def test_qed(tmp_path):
    span = {"start": 0, "end": 3, "string": "Howl"}
    row = {
        "example_id": -329,
        "title_text": "t",
        "url": "u",
        "question_text": "who wrote it",
        "paragraph_text": "p q",
        "sentence_starts": [0],
        "original_nq_answers": [[{"start": 0, "end": 1, "string": "nq"}]],
        "annotation": {
            "referential_equalities": [
                {
                    "question_reference": {**span, "string": "it"},
                    "sentence_reference": {**span, "bridge": False},
                }
            ],
            "answer": [{"sentence_reference": span, "paragraph_reference": span}],
            "explanation_type": "single_sentence",
            "selected_sentence": {**span, "string": "Howl wrote it ."},
        },
    }
    plain = {
        **row,
        "annotation": {
            "explanation_type": "none",
            "answer": [],
            "referential_equalities": [],
            "selected_sentence": {},
        },
    }
    one, two = read_qed(lines(tmp_path / "qed-dev.jsonlines", row, plain), "dev")
    assert (one.id, one.answer, one.rationale) == ("-329", "Howl", "Howl wrote it .")
    assert one.meta["equalities"] == [["it", "Howl"]]
    assert (two.answer, two.rationale) == ("nq", None)
