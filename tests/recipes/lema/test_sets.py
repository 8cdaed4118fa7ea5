"""Arms of a comparison have exactly the rows and tokens that their names promise."""

from __future__ import annotations

import re

import pytest

from tlm_jax.errors import UserError
from tlm_jax.recipes.lema.forms import Pair
from tlm_jax.recipes.lema.sets import Corrected, Row, arm_of, rows_of, tokens, used

CHAINS = [Row(f"chain-{n}", Pair("q", "a"), 5 + n % 7) for n in range(40)]
CORRECTED = [
    Corrected(
        Row(f"correction-{n}", Pair("q", "c"), 20 + n % 5),
        Row(f"corrected-{n}", Pair("q", "a"), 6 + n % 3),
    )
    for n in range(12)
]


def ids(name, seed=0, corrected=CORRECTED):
    return [[r.id for r in rows] for rows in rows_of(arm_of(name), CHAINS, corrected, seed)]


def kinds(rows):
    return [sum(name.startswith(f"{kind}-") for name in rows) for kind in ("chain", "correction")]


def test_rows_are_counted_exactly():
    (cot,), (lema,), (lema_rows,), (cot_rows,) = (
        ids(name) for name in ("cot", "lema", "lema_rows", "cot_rows")
    )
    assert cot == [row.id for row in CHAINS]
    assert kinds(lema) == [40, 12]
    # LEMA-n: all corrections stay, as many chains drop out.
    assert (len(lema_rows), kinds(lema_rows)) == (40, [28, 12])
    # CoT-n: the corrected solution of each correction is a chain.
    assert (len(cot_rows), kinds(cot_rows)) == (52, [40, 0])
    assert {f"corrected-{n}" for n in range(12)} <= set(cot_rows)


def test_another_seed_leaves_out_other_chains():
    assert ids("lema_rows", 0) == ids("lema_rows", 0)
    assert set(ids("lema_rows", 0)[0]) != set(ids("lema_rows", 1)[0])


@pytest.mark.parametrize(("arm", "other"), [("cot_tokens", "lema"), ("lema_tokens", "cot")])
def test_target_tokens_are_equal_up_to_the_shortest_row(arm, other):
    (rows,), (others,) = (rows_of(arm_of(n), CHAINS, CORRECTED, 0) for n in (arm, other))
    assert 0 <= tokens(others) - tokens(rows) < min(row.tokens for row in CHAINS)
    if arm == "lema_tokens":
        assert kinds([row.id for row in rows])[1] == 12


def test_shares_are_parts_of_larger_ones():
    half = {one.correction.id for one in used(CORRECTED, 0.5)}
    assert len(half) == 6
    assert {one.correction.id for one in used(CORRECTED, 0.25)} < half
    assert set(ids("lema@0.5")[0]) & {f"correction-{n}" for n in range(12)} == half
    assert len(ids("cot_rows@0.5")[0]) == 46


def test_two_stages():
    corrections, chains = ids("lema_two_stages")
    assert (kinds(corrections), kinds(chains)) == ([0, 12], [40, 0])


def test_fields_are_left_out_by_name():
    assert arm_of("lema_without_explanation").without == ("explanation",)
    assert arm_of("lema_without_step@0.5").share == 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lemma", "ARMS has 'lemma'. Did you mean 'lema'? Arms: cot, lema, lema_rows"),
        ("lema@0", "ARMS has 'lema@0', expected a share of corrections above 0, at most 1"),
        ("lema@2", "ARMS has 'lema@2', expected a share"),
        ("cot@0.5", "ARMS has 'cot@0.5', expected a share"),
        ("lema@", "ARMS has 'lema@'"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(UserError, match=re.escape(message)):
        arm_of(name)


@pytest.mark.parametrize("arm", ["lema_rows", "lema_tokens"])
def test_more_corrections_than_chains(arm):
    unit = "rows" if arm == "lema_rows" else "target tokens"
    with pytest.raises(UserError, match=f"the {arm} is to have".replace("the ", "the arm ")) as e:
        rows_of(arm_of(arm), CHAINS[:5], CORRECTED, 0)
    assert f"{unit} of the arm 'cot', but its corrections alone have" in str(e.value)
    assert f"'{arm}@" in str(e.value)


def test_no_corrections():
    with pytest.raises(UserError, match="the arm lema has no corrections: 0 were kept"):
        ids("lema", corrected=[])
    assert ids("cot", corrected=[]) == [[row.id for row in CHAINS]]
