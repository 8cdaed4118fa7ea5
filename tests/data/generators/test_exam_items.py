"""Embedded exam questions: facts and sums in two languages, with what a teacher would write."""

import collections

import pytest

from tlm_jax.data.generators.exam_items import ExamItems, exam_item, field_of
from tlm_jax.data.records import LETTERS
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import grade


def test_an_item_in_each_language():
    english, chinese = (exam_item(ExamItems((x,), ("sum",)), "train", 3) for x in ("en", "zh"))
    assert english.question == "What is 20 + 29?"
    assert chinese.question == "２０加２９等于多少？"
    assert english.options == ("59", "50", "49", "48")
    assert english.answer == chinese.answer == "C"
    assert english.generated == {
        "cot": "0 + 9 = 9. 20 + 20 = 40. 40 + 9 = 49. 49 is option C.",
        "error": "To add a ten that is carried: 59.",
        "fundamental": "Add ones to ones and tens to tens. Ten ones make a ten.",
    }
    assert chinese.generated == {
        "cot": "０＋９＝９。２０＋２０＝４０。４０＋９＝４９。４９是选项C。",
        "error": "误加进位的十，得５９。",
        "fundamental": "个位加个位，十位加十位。十个一是一个十。",
    }


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_items_are_right_and_each_field_has_its_form(split):
    seen = collections.Counter()
    for index in range(300):
        item = exam_item(ExamItems(), split, index)
        assert item == exam_item(ExamItems(), split, index)
        assert item.options is not None
        assert len(set(item.options)) == 4
        right = item.options[LETTERS.index(item.answer)]
        assert right in item.generated["cot"]
        assert right not in item.generated["error"] or item.meta["type"] == "sum"
        for field in ("cot", "error", "fundamental"):
            assert field_of(item.generated[field]) == field
        seen[item.meta["type"], item.meta["language"]] += 1
    assert min(seen.values()) > 40
    assert len(seen) == 4


def test_splits_share_no_question():
    keys = [
        {(r.question, r.options) for r in (exam_item(ExamItems(), split, n) for n in range(400))}
        for split in ("train", "validation", "test")
    ]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]
    assert not keys[1] & keys[2]


def test_what_is_no_field_has_no_form():
    assert field_of("The capital of France is") is None
    assert field_of("") is None


@pytest.mark.parametrize(
    ("kind", "text", "gold", "options"),
    [
        ("choice", "答案是（B）。", "B", ("巴黎", "罗马")),
        (
            "choice",
            "让我们一步一步地思考。罗马。 答案是（Ｂ）。 常见的错误是： 选（A）。",
            "B",
            ("巴黎", "罗马"),
        ),
        ("numeric", "１４＋６＝２０，答案是２０。", "20", None),
        ("numeric", "答案是１，０００。", "1000", None),
        ("boolean", "答案是正确。", "yes", None),
        ("boolean", "答案是不正确。", "no", None),
        ("boolean", "答案是错误。", "no", None),
    ],
)
def test_graders_read_chinese_answers(kind, text, gold, options):
    assert grade(kind, text, gold, options).correct


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"languages": ("fr",)}, "ExamItems.languages is"),
        ({"kinds": ()}, "ExamItems.kinds is"),
        ({"num_options": 7}, "ExamItems.num_options is 7, expected 2 to 6"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(UserError, match=message):
        ExamItems(**wrong)
    with pytest.raises(UserError, match="not 'dev'"):
        exam_item(ExamItems(), "dev", 0)
