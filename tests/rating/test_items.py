"""What a file holds to be rated, and in which order it is shown."""

import json_lines
import pytest
from served_ratings import CORRECTION, SOURCES, explanations

from tlm_jax.errors import UserError
from tlm_jax.rating.items import CORRECTIONS, Fields, read_sheet
from tlm_jax.rating.scales import GRADES, VERDICT


def _read(tmp_path, *rows, fields=Fields(), scale=None):  # noqa: B008
    return read_sheet(json_lines.write(tmp_path / "a.jsonl", *rows), fields, scale)


def test_explanations_are_graded(tmp_path):
    sheet = _read(tmp_path, *explanations())
    assert sheet.scale is GRADES
    assert sheet.sources == list(SOURCES)
    item = sheet.items[0]
    assert item.given == (
        ("Question", "Can fish 0 fly?"),
        ("Options", "(A) yes\n(B) no"),
        ("Right answer", "B"),
    )
    assert item.rated == (("Explanation", "Fish 0 swims, says one of 5 letters."),)


def test_corrections_of_lema_get_a_verdict(tmp_path):
    later = {**CORRECTION, "id": "p2", "incorrect_step": 2, "correct_solution": ["5."]}
    whole = {**CORRECTION, "id": "p3", "incorrect_step": None, "explanation": None}
    sheet = _read(tmp_path, CORRECTION, later, {**whole, "rating": "good"})
    assert (sheet.scale, sheet.sources, sheet.already_rated) == (VERDICT, [CORRECTIONS], 1)
    assert sheet.items[0].given[-1] == (
        "Wrong solution",
        "Step 1: 2 + 3 = 6.\nStep 2: The answer is 6.",
    )
    assert sheet.items[0].rated == (
        ("Incorrect step", "Step 1"),
        ("Explanation", "2 + 3 is 5."),
        ("Correct solution", "Step 1: 2 + 3 = 5.\nStep 2: The answer is 5."),
    )
    assert sheet.items[1].rated[-1] == ("Correct solution", "Step 2: 5.")
    assert [part.heading for part in sheet.items[2].rated] == ["Correct solution"]


def test_the_scale_can_be_chosen(tmp_path):
    assert _read(tmp_path, CORRECTION, scale=GRADES).scale is GRADES
    assert _read(tmp_path, CORRECTION, *explanations()).scale is GRADES


def test_several_fields_of_a_teacher(tmp_path):
    row = {**explanations(1)[0], "fundamental": "Fish swim.", "error": "Not all that swim fly."}
    (item,) = _read(tmp_path, row, fields=Fields(text="fundamental,error")).items
    assert item.rated == (("fundamental", "Fish swim."), ("error", "Not all that swim fly."))


def test_each_rater_has_an_order_that_stays(tmp_path):
    sheet = _read(tmp_path, *explanations(20))
    orders = {name: sheet.order_for(name) for name in ("Ann", "Bob")}
    assert orders["Ann"] == sheet.order_for("Ann") != orders["Bob"]
    for order in orders.values():
        assert sorted(i.key for i in order) == sorted(i.key for i in sheet.items)
        # What sources say of one question follows each other, each of them first now and then.
        assert (
            [i.id for i in order[::3]] == [i.id for i in order[1::3]] == [i.id for i in order[2::3]]
        )
        assert {i.source for i in order[::3]} == set(SOURCES)


def test_names_of_items_tell_nothing_and_change_with_the_text(tmp_path):
    rows = explanations(1)
    keys = {item.key for item in _read(tmp_path, *rows).items}
    assert len(keys) == 3
    changed = [{**row, "text": "another"} for row in rows]
    assert not keys & {item.key for item in _read(tmp_path, *changed).items}
    assert not any(source in key for key in keys for source in SOURCES)


ROW = explanations(1)[0]


@pytest.mark.parametrize(
    ("row", "fields", "message"),
    [
        (
            {**ROW, "source": None},
            Fields(),
            r"a\.jsonl:1 has no 'source', which says who wrote the text; .* --source=FIELD",
        ),
        ({**ROW, "source": None, "sourse": "x"}, Fields(), r"'source', .* \(Did you mean 'sourse'"),
        (ROW, Fields(source="writer"), r"has no 'writer'"),
        (ROW, Fields(question="qestion"), r"has no 'qestion' \(Did you mean 'question'\?\); name"),
        (ROW, Fields(text="cot"), r"has no 'cot'; name the field with --text=FIELD"),
        ({**ROW, "text": 5}, Fields(), r"'text' is int, expected a text"),
        ({**ROW, "id": None}, Fields(), r"a\.jsonl:1 has no 'id' that is a text or a whole number"),
        ({**ROW, "options": "ab"}, Fields(), r"'options' is no list of at most 26 texts"),
        ({"id": "x", "source": "y", "question": "z"}, Fields(), r"has no 'text'"),
    ],
)
def test_rows_that_cannot_be_rated(tmp_path, row, fields, message):
    with pytest.raises(UserError, match=message) as caught:
        _read(tmp_path, row, fields=fields)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_rated(tmp_path):
    with pytest.raises(UserError, match=r"a\.jsonl holds no rows"):
        _read(tmp_path)
    with pytest.raises(UserError, match=r"a\.jsonl:2: line 1 has the same id 'q0' and source 'hum"):
        _read(tmp_path, ROW, ROW)
    with pytest.raises(UserError, match="no such file"):
        read_sheet(tmp_path / "none.jsonl", Fields())
