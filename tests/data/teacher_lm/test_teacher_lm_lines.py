"""TeacherLM's lines and elicitation, character for character, in English and Chinese."""

import dataclasses

import pytest

from tlm_jax.data.records import Record
from tlm_jax.data.teacher_lm.language import CHINESE, ENGLISH, language_by_name
from tlm_jax.data.teacher_lm.lines import (
    Layout,
    answered_line,
    elicitation,
    question_line,
    ranked_line,
)
from tlm_jax.errors import UserError

CLAIM = Record("7", "creak", "train", "boolean", "Soup is solid.", None, "no")
CREAK = Layout(instruction="Determine the correctness of the following sentence.")


def choice(question="Who flies?", options=("owl", "eel"), answer="A", **meta):
    return Record("q1", "d", "train", "choice", question, options, answer, None, meta)


def test_a_claim_as_the_official_code_asks_it():
    assert answered_line(CLAIM, CREAK) == (
        "Q: Determine the correctness of the following sentence. Soup is solid. (A) True (B) False "
        "A: The answer is (B)."
    )
    assert answered_line(CLAIM, Layout(truth_options=False)) == (
        "Q: Soup is solid. A: The answer is no."
    )


def test_the_three_elicitation_prompts():
    line = "Q: Who flies? (A) owl (B) eel A: The answer is (A)."
    assert elicitation(choice(), "cot") == f"{line} Let's think step by step."
    assert elicitation(choice(), "error") == f"{line} The common mistakes are:"
    assert elicitation(choice(), "fundamental") == f"{line} The fundamental of this question is:"


def test_double_spaces_are_collapsed_once_in_elicitation_and_stay_in_the_line():
    record = choice("Who  flies    now?")
    assert answered_line(record).startswith("Q: Who  flies    now? (A)")
    assert elicitation(record, "cot").startswith("Q: Who flies  now? (A)")


def test_line_breaks_within_question_and_options_become_spaces():
    record = choice("Who\nflies?", ("an\nowl", "an  eel"))
    assert question_line(record) == "Q: Who flies? (A) an owl (B) an eel A:"


def test_questions_without_options():
    number = Record("1", "d", "train", "numeric", "What is 2 + 2?", None, "4")
    assert answered_line(number) == "Q: What is 2 + 2? A: The answer is 4."
    with pytest.raises(UserError, match="record '1' of 'd' has no options"):
        ranked_line(number)


def test_the_letter_stands_where_the_official_evaluation_compares_it():
    assert ranked_line(choice()) == ("Q: Who flies? (A) owl (B) eel A: The answer is (", "A).")
    chinese = Layout(language="zh")
    assert ranked_line(choice("谁会飞？", ("猫头鹰", "鳗鱼")), chinese) == (
        "问： 谁会飞？ （A）猫头鹰 （B）鳗鱼 答： 答案是（",
        "A）。",
    )


def test_chinese_by_the_record_or_by_the_layout():
    record = choice("谁会飞？", ("猫头鹰", "鳗鱼"), language="zh")
    line = "问： 谁会飞？ （A）猫头鹰 （B）鳗鱼 答： 答案是（A）。"
    assert answered_line(record) == line
    assert elicitation(record, "cot") == f"{line} 让我们一步一步地思考。"
    assert elicitation(record, "error") == f"{line} 常见的错误是："
    assert elicitation(record, "fundamental") == f"{line} 这道题的基础知识是："
    assert answered_line(record, Layout(language="en")).endswith("A: The answer is (A).")
    claim = dataclasses.replace(CLAIM, question="汤是固体。", meta={"language": "zh"})
    assert answered_line(claim) == "问： 汤是固体。 （A）正确 （B）错误 答： 答案是（B）。"
    with pytest.raises(UserError, match=r"record 'q1' of 'd' has the language 'fr', expected one"):
        answered_line(choice(language="fr"))


def test_subjects_stand_before_the_whole_text():
    record = choice(subject="high_school_biology")
    assert question_line(record, Layout(subject=True)) == (
        "The following are multiple choice questions (with answers) about high school biology. "
        "Q: Who flies? (A) owl (B) eel A:"
    )
    with pytest.raises(UserError, match=r"record 'q1' of 'd' has no field meta\.subject"):
        question_line(choice(), Layout(subject=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final": "The answer is so."}, r"Language\.final is .* with \{answer\} in it"),
        ({"option": "{letter}"}, r"Language\.option is .* with \{letter\} and \{text\}"),
        ({"letter": "({"}, r"Language\.letter '\(\{' is no template"),
        ({"markers": {"cot": "x"}}, r"Language\.markers has cot, expected a sentence for each"),
        (
            {"markers": {"cot": "x", "error": "x", "fundamental": "y"}},
            r"Language\.markers must be different",
        ),
    ],
)
def test_wrong_words_are_one_clear_line(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(ENGLISH, **change)


def test_what_there_is_not():
    assert language_by_name("zh") is CHINESE
    with pytest.raises(UserError, match="no language 'cn': expected one of en, zh"):
        Layout(language="cn")
    with pytest.raises(UserError, match="no field 'facts': expected one of cot, error"):
        elicitation(choice(), "facts")
    silent = Record("2", "d", "train", "text", "What?", None, "")
    with pytest.raises(UserError, match="record '2' of 'd' has no field 'answer'"):
        answered_line(silent)


def test_an_answer_beyond_the_options_and_too_many_options_are_no_records():
    with pytest.raises(UserError, match=r"'q1' of 'd': the answer must be a letter from A to B"):
        choice(answer="C")
    with pytest.raises(UserError, match=r"27 options, but there are only 26 letters"):
        choice(options=("x",) * 27)
