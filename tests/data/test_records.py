"""Records and their JSON Lines files."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.data.records import (
    Record,
    from_dict,
    read_json_lines,
    read_records,
    to_dict,
    write_records,
)
from tlm_jax.errors import UserError

CHOICE = {
    "id": "q1",
    "dataset": "d",
    "split": "train",
    "kind": "choice",
    "question": "Which?",
    "options": ["x", "y"],
    "answer": "B",
    "rationale": None,
    "meta": {"k": 1},
}


def test_a_record_goes_to_a_dict_and_back_with_generated_fields_beside_the_others():
    record = from_dict({**CHOICE, "cot": "because"})
    assert record.options == ("x", "y")
    assert record.generated == {"cot": "because"}
    assert record.answer_text() == "y"
    assert to_dict(record) == {**CHOICE, "cot": "because"}


@pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.gz"])
def test_files_round_trip_and_equal_records_give_equal_bytes(tmp_path, name):
    records = [from_dict({**CHOICE, "id": f"é{i}\u2028", "question": "a\nb: c"}) for i in range(3)]
    path, again = tmp_path / name, tmp_path / f"again-{name}"
    assert write_records(path, records) == 3
    write_records(again, iter(records))
    assert list(read_records(path)) == records
    assert path.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, again.name])


def test_an_unfinished_file_never_appears(tmp_path):
    def failing():
        yield from_dict(CHOICE)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_records(tmp_path / "r.jsonl", failing())
    assert list(tmp_path.iterdir()) == []


def test_generated_fields_are_added_and_never_overwrite():
    record = from_dict(CHOICE).with_generated(cot="a")
    with pytest.raises(UserError, match="'q1' of 'd' already has the field 'cot'"):
        record.with_generated(cot="b")
    with pytest.raises(UserError, match="already has the field 'answer'"):
        record.with_generated(answer="A")
    assert record.with_generated(error="e").generated == {"cot": "a", "error": "e"}


def test_a_field_that_is_asked_for_and_missing_names_record_and_field():
    record = from_dict(CHOICE)
    assert record.get("question") == "Which?"
    with pytest.raises(UserError, match=r"'q1' of 'd' has no field 'rationale'; it has id,"):
        record.get("rationale")
    with pytest.raises(UserError, match="no field 'cot'"):
        record.get("cot")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "number"}, "kind must be one of numeric, choice, boolean, text, got 'number'"),
        ({"answer": "C"}, "a letter from A to B, got 'C'"),
        ({"answer": "AB"}, "a letter from A to B, got 'AB'"),
        ({"answer": ""}, "a letter from A to B, got ''"),
        ({"options": None}, "a choice needs options"),
        ({"options": ["x"] * 27}, "27 options, but there are only 26 letters"),
        ({"kind": "boolean", "answer": "true"}, "must be 'yes' or 'no', got 'true'"),
        ({"kind": "numeric", "answer": "1,000"}, "finite number without commas, got '1,000'"),
        ({"kind": "numeric", "answer": "1_0"}, "finite number without commas"),
        ({"kind": "numeric", "answer": "nan"}, "finite number without commas"),
        ({"kind": "numeric", "answer": "1e999"}, "finite number without commas"),
        ({"question": 3}, "the field 'question' must be text, got 3"),
        ({"options": "xy"}, "the field 'options' must be a list of texts"),
        ({"answer": 3}, "the field 'answer' must be text, got 3"),
        ({"rationale": 3}, "the field 'rationale' must be text or null"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(changes, message):
    with pytest.raises(UserError) as error:
        from_dict({**CHOICE, **changes}, where="f.jsonl:7")
    assert message in str(error.value)
    assert str(error.value).startswith("f.jsonl:7")
    assert "q1" in str(error.value)


@pytest.mark.parametrize("missing", ["id", "dataset", "split", "kind", "question", "answer"])
def test_a_missing_field_names_place_and_field(missing):
    fields = {name: value for name, value in CHOICE.items() if name != missing}
    with pytest.raises(UserError, match=f"f:1, record .*: the field '{missing}' is missing"):
        from_dict(fields, where="f:1")


def test_a_null_answer_is_an_empty_text():
    record = from_dict({**CHOICE, "kind": "numeric", "options": None, "answer": None})
    assert (record.kind, record.answer) == ("text", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', ":2: not valid JSON"),
        (b'{"a": 1}\n\n[1]\n', ":3: expected a JSON object, got list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "cannot be read"),
        (b'{"a": "\\ud83d\\ude00"}\n{"a": ["\\ud83d"]}', r":2: the text holds \ud83d, half of"),
        (b"[" * 100_000, ":1: not valid JSON"),
    ],
)
def test_a_broken_line_names_file_and_line(tmp_path, content, message):
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(read_json_lines(path))
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_half_a_surrogate_pair_may_be_looked_at(tmp_path):
    path = tmp_path / "half.jsonl"
    path.write_text(r'{"a": "\ud83d"}')
    assert list(read_json_lines(path, any_text=True)) == [(1, {"a": "\ud83d"})]


def test_a_record_file_names_the_line_of_a_bad_record(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(CHOICE) + "\n" + json.dumps({**CHOICE, "answer": "Z"}) + "\n")
    with pytest.raises(UserError, match=r"r\.jsonl:2: Record 'q1'"):
        list(read_records(path))


def test_a_truncated_gzip_file_and_an_absent_one_are_said(tmp_path):
    path = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % (i * 7919) for i in range(5000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.jsonl\.gz:\d+: cannot be read"):
        list(read_json_lines(path))
    with pytest.raises(UserError, match="no such file"):
        list(read_json_lines(tmp_path / "absent.jsonl"))


@given(st.text(), st.text(), st.one_of(st.none(), st.lists(st.text(), max_size=5)))
def test_any_text_survives(question, answer, options):
    record = Record("i", "d", "s", "text", question, (options and tuple(options)) or None, answer)
    line = json.dumps(to_dict(record), ensure_ascii=False)
    assert from_dict(json.loads(line)) == record


def test_the_content_key_ignores_case_and_spaces_but_not_options():
    one = Record("1", "d", "s", "text", "Is  it SO?", None, "")
    other = Record("2", "d", "s", "text", "is it so?", None, "")
    choice = Record("3", "d", "s", "choice", "is it so?", ("yes",), "A")
    assert one.content_key() == other.content_key() != choice.content_key()


def test_a_question_is_known_again_with_its_options_in_another_order():
    options = ("It rains up.", "It rains.", "Rain (hail) falls")
    asked = Record("1", "d", "s", "choice", "Which is odd?", options, "A")
    turned = Record("2", "d", "s", "choice", "which is  ODD?", options[::-1], "C")
    assert asked.content_key() == turned.content_key()
    written = Record("3", "d", "s", "choice", "Which is odd", ("it rains up", *options[1:]), "A")
    assert asked.content_key() != written.content_key()
    assert asked.question_words() == turned.question_words() == written.question_words()
    other = Record("4", "d", "s", "choice", "Which is odd?", ("It rains down.", *options[1:]), "A")
    assert asked.question_words() != other.question_words()
    symbols = [Record("5", "d", "s", "text", text, None, "") for text in ("[ <", "( {")]
    assert symbols[0].question_words() != symbols[1].question_words()
