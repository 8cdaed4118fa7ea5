"""Ratings on disk: nothing is lost, a change counts, damage is told."""

import json
import os

import json_lines
import pytest
from served_ratings import explanations

from tlm_jax.errors import UserError
from tlm_jax.rating.items import Fields, read_sheet
from tlm_jax.rating.scales import GRADES, VERDICT
from tlm_jax.rating.store import RatingStore, rater_name, read_ratings


@pytest.fixture
def sheet(tmp_path):
    return read_sheet(json_lines.write(tmp_path / "a.jsonl", *explanations()), Fields())


@pytest.fixture
def path(sheet):
    return sheet.beside("ratings.jsonl")


def test_a_row_has_the_fields_of_the_method(sheet, path):
    with RatingStore(path, GRADES, "person") as store:
        store.add("Ann", sheet.items[0], {"fluency": 5})
        now = store.add("Ann", sheet.items[0], {"factuality": 4, "informativeness": 3})
        assert now == {"fluency": 5, "factuality": 4, "informativeness": 3}
        assert store.is_complete("Ann", sheet.items[0])
        assert not store.is_complete("Bob", sheet.items[0])
        first, last = (json.loads(line) for line in path.read_text().splitlines())
    assert first["factuality"] is None
    del last["time"]
    assert last == {
        "id": "q0", "source": "human", "rater": "Ann", "kind": "person", "fluency": 5,
        "factuality": 4, "informativeness": 3, "item": sheet.items[0].key,
    }  # fmt: skip


def test_a_change_counts_and_one_goes_on(sheet, path):
    for value in (5, 2):
        with RatingStore(path, GRADES, "person") as store:
            store.add("Ann", sheet.items[1], {"fluency": value})
    with RatingStore(path, GRADES, "person") as store:
        assert store.values("Ann", sheet.items[1]) == {"fluency": 2}
        assert store.known_as("aNN") == "Ann"
    (rating,) = read_ratings(path)
    assert rating == (sheet.items[1].key, "Ann", "person", {"fluency": 2})


def test_a_torn_last_line_is_recovered(sheet, path):
    with RatingStore(path, GRADES, "person") as store:
        store.add("Ann", sheet.items[0], {"fluency": 5})
        store.add("Ann", sheet.items[1], {"fluency": 4})
    whole = path.read_bytes()
    for end in range(len(whole.splitlines(keepends=True)[0]), len(whole)):
        path.write_bytes(whole[:end])
        assert [r.values for r in read_ratings(path)] == [{"fluency": 5}]
    with RatingStore(path, GRADES, "person") as store:
        store.add("Ann", sheet.items[1], {"fluency": 3})
    assert [r.values for r in read_ratings(path)] == [{"fluency": 5}, {"fluency": 3}]


def test_scales_do_not_disturb_each_other(sheet, path):
    with RatingStore(path, GRADES, "person") as store:
        store.add("Ann", sheet.items[0], {"fluency": 5})
    with RatingStore(path, VERDICT, "person") as store:
        assert store.values("Ann", sheet.items[0]) == {}
        store.add("Ann", sheet.items[0], {"rating": "poor"})
    assert read_ratings(path)[0].values == {"fluency": 5, "rating": "poor"}


def test_a_full_disk_leaves_the_file_whole(sheet, path, monkeypatch):
    with RatingStore(path, GRADES, "person") as store:
        store.add("Ann", sheet.items[0], {"fluency": 5})
        before = path.read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"ratings\.jsonl cannot be written: No space left"):
            store.add("Ann", sheet.items[0], {"fluency": 1})
        assert path.read_bytes() == before
        assert store.values("Ann", sheet.items[0]) == {"fluency": 5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fluency": 6}, "fluency is '6'; expected one of 1, 2, 3, 4, 5"),
        ({"fluency": True}, "fluency is 'True'"),
        ({"fluency": "5"}, "fluency is '5'"),
        ({"fluency": [1]}, "fluency is"),
        ({"flow": 5}, "'flow' is no field; expected one of fluency, factuality, informativeness"),
    ],
)
def test_what_is_no_rating_is_not_written(sheet, path, values, message):
    with RatingStore(path, GRADES, "person") as store, pytest.raises(UserError, match=message):
        store.add("Ann", sheet.items[0], values)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"item": "a"}', '{"item":"a","rater":"b","kind":"x"}']
)
def test_damage_in_the_middle_is_told(path, line):
    path.write_text(f'{line}\n{{"item": "a", "rater": "b", "kind": "person"}}\n')
    with pytest.raises(UserError, match=r"ratings\.jsonl:1 is no rating .*; mend that line"):
        read_ratings(path)


def test_two_processes_do_not_write_one_file(path):
    taken = pytest.raises(UserError, match=r"another process takes ratings for .*ratings\.jsonl")
    with RatingStore(path, GRADES, "person"), taken:
        RatingStore(path, GRADES, "person")


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"none/a\.jsonl cannot be written: No such file"):
        RatingStore(tmp_path / "none" / "a.jsonl", GRADES, "person")


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "a\x1b[31m", None, 5, "\ud800"])
def test_names_that_are_none(name):
    with pytest.raises(UserError, match="a rater's name has 1 to 100 letters"):
        rater_name(name)


def test_names_have_one_spelling():
    assert rater_name("  Ann   B ") == "Ann B"
    assert rater_name("Jose\u0301") == "Jos\u00e9"
