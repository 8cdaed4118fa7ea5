"""Records from TFDS: the conversion of its rows, and what is said of rows not there."""

import pytest

from tlm_jax.data.run_data import RunData
from tlm_jax.data.tfds.records import cos_e_row, esnli_row, gsm8k_row, qasc_row, tfds_records
from tlm_jax.errors import UserError

GSM8K = {
    "question": "How many? ",
    "answer": "a <<1+1=2>>2\n#### 1,002",
    "annotation": "a <<1+1=2>>2\n",
    "short_answer": "1,002",
}


def test_gsm8k_rows():
    record = gsm8k_row(GSM8K, "train")
    assert (record.question, record.answer, record.rationale) == (
        "How many?",
        "1002",
        "a <<1+1=2>>2",
    )
    assert record.id == gsm8k_row(GSM8K, "train").id
    assert record.meta == {"answer_raw": "1,002"}


def test_qasc_rows():
    record = qasc_row(
        {
            "id": "x",
            "question": "q?",
            "choices": {"text": ["b", "a"], "label": ["B", "A"]},
            "answerKey": "B",
            "fact1": "f one.",
            "fact2": "",
            "combinedfact": "c",
            "formatted_question": "f",
        },
        "train",
    )
    assert (record.options, record.answer_text(), record.rationale) == (
        ("a", "b"),
        "b",
        "F one. C.",
    )


def test_esnli_rows():
    row = {
        "premise": "p",
        "hypothesis": "h",
        "label": 2,
        "explanation_1": "e",
        "explanation_2": "",
        "explanation_3": "g",
    }
    record = esnli_row(row, "test")
    assert (record.answer_text(), record.rationale) == ("contradiction", "e")
    assert record.question == "Premise: p\nHypothesis: h"


def test_cos_e_rows():
    row = {
        "id": "i",
        "question": "q",
        "choices": ["x", "y"],
        "answer": "y",
        "abstractive_explanation": "because",
        "extractive_explanation": "q",
    }
    record = cos_e_row(row, "validation")
    assert (record.answer, record.rationale, record.dataset) == ("B", "because", "cos_e")
    with pytest.raises(UserError, match="cos_e i: the answer 'z' is none of the options"):
        cos_e_row({**row, "answer": "z"}, "validation")


def test_what_tfds_has_not_prepared_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(
        UserError, match=r"gsm8k, split 'train': .* `scripts/prepare_tfds gsm8k --data_dir"
    ):
        tfds_records("gsm8k", {"train": "train"}).num_records("train", RunData(tmp_path))
