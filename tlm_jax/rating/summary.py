"""Figures of ratings: means by source with intervals, agreement, and how a judge compares."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tlm_jax.evaluation.intervals import wilson
from tlm_jax.evaluation.statistics import bootstrap
from tlm_jax.rating.agreement import alpha, alpha_interval
from tlm_jax.rating.items import Sheet
from tlm_jax.rating.scales import Scale
from tlm_jax.rating.store import Rating

Figures = dict[str, Any]

PEOPLE = "people"


class _Rater(NamedTuple):
    name: str
    kind: str


class _Ranks:
    """Of each field the ranks by rater and item, NaN where there is none."""

    def __init__(self, sheet: Sheet, ratings: Iterable[Rating]):
        self.sheet = sheet
        places = {item.key: place for place, item in enumerate(sheet.items)}
        of_scale = [r for r in ratings if any(name in r.values for name in sheet.scale.fields)]
        known = [r for r in of_scale if r.key in places]
        self.unknown = len(of_scale) - len(known)
        self.raters = list(dict.fromkeys(_Rater(r.rater, r.kind) for r in known))
        rows = {rater: row for row, rater in enumerate(self.raters)}
        shape = (len(self.raters), len(sheet.items))
        self.fields = {name: np.full(shape, math.nan) for name in sheet.scale.fields}
        for rating in known:
            place = rows[_Rater(rating.rater, rating.kind)], places[rating.key]
            for name, ranks in self.fields.items():
                if (value := rating.values.get(name)) is not None:
                    ranks[place] = sheet.scale.rank(value)

    def rows(self, kind: str, name: str | None = None) -> list[int]:
        """Returns the rows of raters of a kind, or of the one of that name."""
        found = enumerate(self.raters)
        return [n for n, r in found if r.kind == kind and name in (None, r.name)]


def summarize(sheet: Sheet, ratings: Iterable[Rating]) -> Figures:
    """Returns all figures, ready for JSON.

    - `groups`: people together, then each model by itself. In each by field `sources` (`mean` of
      ranks from 1, `counts` and `shares` of the values), and people's `alpha`.
    - `pairs`: any two raters on the items that both rated: `same`, the share of equal ratings, and
      `alpha`.
    - `judges`: each model against people: `difference` of its rank from people's mean of the item,
      `alpha` of it and one person, over all people.

    An item counts once in means and shares, by the mean over its raters; `low` and `high` are 95 %
    intervals over items: of means and differences a bootstrap, None where all items are alike or
    there is one; of shares Wilson's, with items as trials. It is too wide rather than too narrow
    where several have rated an item: the mean of numbers within 0 and 1 varies no more than theirs.

    Args:
      sheet: the items and their scale.
      ratings: of anyone; those of items that the file does not hold are counted in `unknown`.
    """
    ranks = _Ranks(sheet, ratings)
    models = [rater.name for rater in ranks.raters if rater.kind == "model"]
    groups = [_group(ranks, PEOPLE, "person", ranks.rows("person"))]
    groups += [_group(ranks, name, "model", ranks.rows("model", name)) for name in models]
    return {
        "file": str(sheet.path),
        "scale": sheet.scale.name,
        "fields": list(sheet.scale.fields),
        "values": list(sheet.scale.values),
        "items": len(sheet.items),
        "sources": sheet.sources,
        "unknown": ranks.unknown,
        "raters": [_rater(ranks, row) for row in range(len(ranks.raters))],
        "groups": [group for group in groups if group["raters"]],
        "pairs": _pairs(ranks),
        "judges": [found for name in models for found in _judge(ranks, name)],
    }


def _rater(ranks: _Ranks, row: int) -> Figures:
    rated = np.stack([~np.isnan(found[row]) for found in ranks.fields.values()])
    rater = ranks.raters[row]
    return {
        "rater": rater.name,
        "kind": rater.kind,
        "complete": int(rated.all(axis=0).sum()),
        "begun": int((rated.any(axis=0) & ~rated.all(axis=0)).sum()),
    }


def _group(ranks: _Ranks, name: str, kind: str, rows: Sequence[int]) -> Figures:
    fields = {
        field: _field(ranks.sheet, found[list(rows)], kind) for field, found in ranks.fields.items()
    }
    return {"group": name, "kind": kind, "raters": len(rows), "fields": fields}


def _field(sheet: Sheet, ranks: Float[np.ndarray, "raters items"], kind: str) -> Figures:
    sources = []
    for source in sheet.sources:
        of_source = [item.source == source for item in sheet.items]
        sources.append({"source": source, **_figures(ranks[:, of_source], sheet.scale)})
    if kind != "person":
        return {"sources": sources}
    values = len(sheet.scale.values)
    low, high = alpha_interval(ranks, values) or (None, None)
    several = int(((~np.isnan(ranks)).sum(axis=0) > 1).sum())
    return {
        "sources": sources,
        "alpha": alpha(ranks, values),
        "alpha_low": low,
        "alpha_high": high,
        "items_of_several": several,
    }


def _figures(ranks: Float[np.ndarray, "raters items"], scale: Scale) -> Figures:
    ranks = ranks[:, (~np.isnan(ranks)).any(axis=0)]
    given = ~np.isnan(ranks)
    items, counts = ranks.shape[1], {}
    shares: dict[str, Figures] = {}
    for rank, value in enumerate(scale.values, start=1):
        counts[str(value)] = int((ranks == rank).sum())
        if items:
            by_item = (ranks == rank).sum(axis=0) / given.sum(axis=0)
            low, high = wilson(float(by_item.sum()), items)
            shares[str(value)] = {"share": float(by_item.mean()), "low": low, "high": high}
    means = np.nanmean(ranks, axis=0) if items else np.zeros(0)
    return {
        "items": items,
        "ratings": int(given.sum()),
        **_mean(means),
        "counts": counts,
        "shares": shares,
    }


def _mean(values: Float[np.ndarray, "items"]) -> Figures:
    if not len(values):
        return {"mean": None, "low": None, "high": None}
    alike = bool(np.all(values == values[0]))
    low, high = (None, None) if alike else bootstrap(values)
    return {"mean": float(values.mean()), "low": low, "high": high}


def _pairs(ranks: _Ranks) -> list[Figures]:
    found = []
    for one, other in itertools.combinations(range(len(ranks.raters)), 2):
        for field, of_field in ranks.fields.items():
            both = of_field[[one, other]]
            both = both[:, ~np.isnan(both).any(axis=0)]
            if both.shape[1]:
                found.append(
                    {
                        "raters": [ranks.raters[one].name, ranks.raters[other].name],
                        "kinds": [ranks.raters[one].kind, ranks.raters[other].kind],
                        "field": field,
                        "items": both.shape[1],
                        "same": float((both[0] == both[1]).mean()),
                        "alpha": alpha(both, len(ranks.sheet.scale.values)),
                    }
                )
    return found


def _judge(ranks: _Ranks, name: str) -> list[Figures]:
    """Returns a model's agreement with people by field, where both have rated an item."""
    found = []
    people, (model,) = ranks.rows("person"), ranks.rows("model", name)
    for field, of_field in ranks.fields.items():
        # A column for each person and item: what the model says beside what this person says.
        beside = np.concatenate(
            [of_field[[model, person]] for person in people] or [np.zeros((2, 0))], 1
        )
        beside = beside[:, ~np.isnan(beside).any(axis=0)]
        shared = ~np.isnan(of_field[model]) & (~np.isnan(of_field[people])).any(axis=0)
        if not shared.any():
            continue
        differences = of_field[model, shared] - np.nanmean(of_field[people][:, shared], axis=0)
        change = _mean(differences)
        found.append(
            {
                "model": name,
                "field": field,
                "items": int(shared.sum()),
                "difference": change["mean"],
                "low": change["low"],
                "high": change["high"],
                "same": float((beside[0] == beside[1]).mean()),
                "alpha": alpha(beside, len(ranks.sheet.scale.values)),
            }
        )
    return found
