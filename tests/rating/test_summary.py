"""Means, intervals and agreement, against cases worked by hand and a float64 reference."""

import math

import json_lines
import numpy as np
import pytest
from served_ratings import CORRECTION, explanations

from tlm_jax.rating.agreement import alpha, alpha_interval
from tlm_jax.rating.items import Fields, read_sheet
from tlm_jax.rating.store import Rating
from tlm_jax.rating.summary import summarize
from tlm_jax.reports import rating_page

pytest.importorskip("krippendorff")

X = math.nan


def _reference(ratings, num_values):
    """Krippendorff's alpha of ordered values from its definition, by loops over pairs."""
    counts = np.zeros((num_values, num_values))
    for column in ratings.T:
        values = column[~np.isnan(column)].astype(int)
        for i, one in enumerate(values):
            for j, other in enumerate(values):
                if i != j:
                    counts[one - 1, other - 1] += 1 / (len(values) - 1)
    sums = counts.sum(axis=1)

    def distance(c, k):
        c, k = min(c, k), max(c, k)
        return (sums[c : k + 1].sum() - (sums[c] + sums[k]) / 2) ** 2

    ranks = range(num_values)
    observed = sum(counts[c, k] * distance(c, k) for c in ranks for k in ranks)
    expected = sum(sums[c] * sums[k] * distance(c, k) for c in ranks for k in ranks)
    return 1 - (sums.sum() - 1) * observed / expected


@pytest.mark.parametrize("seed", range(3))
def test_alpha_equals_its_definition(seed):
    generator = np.random.default_rng(seed)
    ratings = generator.integers(1, 6, (3, 12)).astype(float)
    ratings[generator.random((3, 12)) < 0.3] = X
    ratings[:2, 0] = (1, 5)
    assert alpha(ratings, 5) == pytest.approx(_reference(ratings, 5), abs=1e-12)


def test_alpha_at_its_ends():
    same = np.array([[1.0, 2, 3, 3], [1, 2, 3, 3]])
    assert alpha(same, 3) == pytest.approx(1.0)
    assert alpha(np.array([[1.0, 3], [3, 1]]), 3) < 0
    # Values that lie closer together disagree less.
    near, far = np.array([[1.0, 3, 2], [2, 3, 1]]), np.array([[1.0, 3, 2], [3, 1, 2]])
    assert alpha(near, 3) > alpha(far, 3)


def test_there_may_be_no_agreement_to_tell_of():
    for ratings in ([[3.0, 3], [3, 3]], [[1.0, X], [X, 2]], [[1.0, 2]], np.zeros((0, 3))):
        assert alpha(np.asarray(ratings), 5) is None
        assert alpha_interval(np.asarray(ratings), 5) is None


def test_the_interval_holds_alpha_and_stays():
    ratings = np.array([[1.0, 2, 3, 4, 5, 5, 2, 1], [1, 2, 4, 4, 5, 3, 2, 2]])
    low, high = alpha_interval(ratings, 5)
    assert low < alpha(ratings, 5) < high <= 1
    assert alpha_interval(ratings, 5) == (low, high)


@pytest.fixture
def sheet(tmp_path):
    return read_sheet(json_lines.write(tmp_path / "<i>a.jsonl", *explanations(3)), Fields())


def _rated(sheet, rater, values, kind="person"):
    """Ratings of one field, None where there is none."""
    return [
        Rating(item.key, rater, kind, {"fluency": value})
        for item, value in zip(sheet.items, values)
        if value is not None
    ]


PEOPLE = {
    "Ann": [5, 5, 4, 3, 3, 3, 1, None, 2],
    "Bob": [5, 4, 4, 3, 3, 3, 2, None, None],
}
"""Of three items each by human, teacher and another model."""


@pytest.fixture
def figures(sheet):
    ratings = [r for name, values in PEOPLE.items() for r in _rated(sheet, name, values)]
    ratings += _rated(sheet, "judge", [4, 4, 4, 4, 4, 4, 4, 4, None], "model")
    ratings.append(Rating("gone", "Ann", "person", {"fluency": 1}))
    return summarize(sheet, ratings)


def test_means_count_an_item_once(figures):
    people, judge = figures["groups"]
    assert [people["group"], people["raters"], judge["group"]] == ["people", 2, "judge"]
    human, teacher, other = people["fields"]["fluency"]["sources"]
    assert human["mean"] == pytest.approx((5 + 4.5 + 4) / 3)
    assert human["low"] <= human["mean"] <= human["high"]
    assert (human["items"], human["ratings"]) == (3, 6)
    assert human["counts"] == {"1": 0, "2": 0, "3": 0, "4": 3, "5": 3}
    assert human["shares"]["5"]["share"] == pytest.approx(0.5)
    # All alike: an interval of no length would claim certainty.
    assert (teacher["mean"], teacher["low"]) == (3.0, None)
    assert (other["items"], other["ratings"], other["mean"]) == (2, 3, 1.75)
    assert people["fields"]["factuality"]["sources"][0]["mean"] is None


def test_people_and_models_are_apart(figures):
    people, judge = figures["groups"]
    assert people["fields"]["fluency"]["items_of_several"] == 7
    both = np.array([[X if v is None else v for v in PEOPLE[name]] for name in ("Ann", "Bob")])
    assert people["fields"]["fluency"]["alpha"] == pytest.approx(_reference(both, 5))
    assert "alpha" not in judge["fields"]["fluency"]
    assert judge["fields"]["fluency"]["sources"][2]["items"] == 2
    (against,) = figures["judges"]
    means = [5, 4.5, 4, 3, 3, 3, 1.5]
    assert against["items"] == 7
    assert against["difference"] == pytest.approx(np.mean([4 - mean for mean in means]))
    assert against["same"] == pytest.approx(3 / 14)
    assert [pair["raters"] for pair in figures["pairs"]] == [
        ["Ann", "Bob"], ["Ann", "judge"], ["Bob", "judge"],
    ]  # fmt: skip
    assert figures["pairs"][0]["same"] == pytest.approx(5 / 7)


def test_what_is_half_rated_or_gone_is_told(figures):
    assert figures["unknown"] == 1
    assert figures["raters"][0] == {"rater": "Ann", "kind": "person", "complete": 0, "begun": 8}


def test_verdicts_are_shares(tmp_path):
    rows = [{**CORRECTION, "id": f"p{n}"} for n in range(50)]
    sheet = read_sheet(json_lines.write(tmp_path / "rate.jsonl", *rows), Fields())
    words = ["excellent"] * 35 + ["good"] * 11 + ["poor"] * 4
    ratings = [Rating(i.key, "A", "person", {"rating": w}) for i, w in zip(sheet.items, words)]
    figures = summarize(sheet, ratings)
    (source,) = figures["groups"][0]["fields"]["rating"]["sources"]
    assert source["counts"] == {"poor": 4, "good": 11, "excellent": 35}
    share = source["shares"]["excellent"]
    assert share["share"] == pytest.approx(0.7)
    assert (share["low"], share["high"]) == pytest.approx((0.5625, 0.8089), abs=1e-3)  # Wilson
    assert "35 (70%, 56–81)" in rating_page.render(figures)
    assert any("4 poor, 11 good, 35 excellent" in line for line in rating_page.lines(figures))


def test_the_page_and_the_lines(figures):
    page = rating_page.render(figures)
    assert "Ratings of &lt;i&gt;a.jsonl" in page
    for text in ("People", "judge, a model", "Models against people", "other_model", "4.50 ("):
        assert text in page
    said = "\n".join(rating_page.lines(figures))
    assert "Ann (person)  0 of 9, 8 begun" in said
    assert "fluency, people: Krippendorff's alpha 0." in said
    assert "judge against people, fluency: +0.57 (" in said
    assert "note: 1 rating of texts that the file no longer holds are not counted" in said


def test_names_are_text(tmp_path):
    attack = "<script>alert(1)</script>\x1b[31m"
    row = {**explanations(1)[0], "source": attack}
    sheet = read_sheet(json_lines.write(tmp_path / "a.jsonl", row), Fields())
    ratings = [r for kind in ("person", "model") for r in _rated(sheet, attack, [3], kind)]
    figures = summarize(sheet, ratings)
    page = rating_page.render(figures)
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 5
    said = "\n".join(rating_page.lines(figures))
    assert attack[:-5] in said
    assert "\x1b" not in said


def test_nobody_has_rated(sheet):
    figures = summarize(sheet, [])
    assert list(rating_page.lines(figures)) == ["nobody has rated anything yet"]
    assert "Nobody has rated anything yet" in rating_page.render(figures)
