"""Automatic figures of corrections, worked by hand."""

from __future__ import annotations

import dataclasses

import pytest

from tlm_jax.data.records import Record
from tlm_jax.recipes.lema.corrections import Correction
from tlm_jax.recipes.lema.quality import figures, shares, sheet

PENS = Record(
    "pens", "word_problems", "train", "numeric", "Tom has 3 boxes of 4 pens and 5 more.", None,
    "17", rationale="3 boxes of 4 is 3 * 4 = 12.\nWith 5 more it is 12 + 5 = 17.",
)  # fmt: skip
PATH = ("It is 3 + 4 = 7.", "7 + 5 = 12", "The answer is 12.")
GOOD = Correction(1, "It is 3 * 4.", ("3 * 4 = 12.", "Together 12 + 5 = 17.", "The answer is 17."))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (GOOD, (True, True, True, True)),
        (dataclasses.replace(GOOD, step=2), (False, False, True, True)),
        (dataclasses.replace(GOOD, explanation="All is lost."), (True, False, True, True)),
        (dataclasses.replace(GOOD, explanation="Step 1 is lost."), (True, True, True, True)),
        (
            dataclasses.replace(GOOD, steps=("3 * 4 = 13.", "13 + 4 = 17.", "The answer is 17.")),
            (True, True, False, True),
        ),
        (
            dataclasses.replace(GOOD, steps=("99 - 82 = 17.", "The answer is 17.")),
            (True, True, True, False),
        ),
        (dataclasses.replace(GOOD, steps=("The answer is 17.",)), (True, True, None, None)),
    ],
)
def test_figures(found, expected):
    assert tuple(figures(PENS, PATH, found).values()) == expected


def test_results_may_be_rounded():
    found = Correction(1, "No.", ("10 / 3 = 3.33", "The answer is 3.33."))
    assert figures(PENS, PATH, found)["calculated"] is True


def test_algebra_is_not_calculated():
    found = Correction(1, "No.", ("After that 2C + 15 - 5 = 110.", "So C = 5 + 45 = 50."))
    assert figures(PENS, PATH, found)["calculated"] is None


def test_nothing_is_known_of_the_first_error_of_other_questions():
    other = dataclasses.replace(PENS, dataset="gsm8k")
    assert figures(other, PATH, GOOD)["first_error"] is None


def test_shares_and_the_sheet():
    rows = [figures(PENS, PATH, GOOD), figures(PENS, PATH, dataclasses.replace(GOOD, step=2))]
    assert shares(rows) == {
        "first_error": 0.5, "about_step": 0.5, "calculated": 1.0, "follows": 1.0,
    }  # fmt: skip
    numbered = [{"id": n} for n in range(100)]
    some = sheet(numbered, 50, 0)
    assert len(some) == 50
    assert [row["id"] for row in some] == sorted(row["id"] for row in some)
    assert all(row["rating"] is None for row in some)
    assert some == sheet(numbered, 50, 0) != sheet(numbered, 50, 1)
