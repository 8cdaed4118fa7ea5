"""Rows are halved while memory does not suffice; a number that was asked for is kept."""

from __future__ import annotations

import jax
import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval.rows import FIRST_ROWS, Rows


def needing(most: int, tried: list[int]):
    """Work that has memory for so many rows."""

    def work(number: int) -> str:
        tried.append(number)
        if number > most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return f"{number} rows"

    return work


def test_auto_halves_until_it_fits_and_remembers(caplog):
    rows, tried = Rows(None), []
    assert rows.number == FIRST_ROWS["cpu"] == 8
    assert rows.run(needing(3, tried)) == "2 rows"
    assert tried == [8, 4, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"too little memory: going on with {n} rows at a time" for n in (4, 2)
    ]
    assert rows.run(needing(3, tried)) == "2 rows"
    assert tried[3:] == [2]


def test_numbers_are_multiples_of_what_the_mesh_splits():
    assert Rows(5, divisor=4).number == 8
    assert Rows(None, most=6, divisor=4).number == 8
    assert Rows(None, most=3).number == 3
    rows = Rows(12, divisor=4)
    assert rows.number == 12


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (Rows(4), "4 rows do not fit .* lower --batch_size, or give --batch_size auto"),
        (Rows(None, most=1), "a single row does not fit"),
        (Rows(None, divisor=8), "a single row does not fit"),
    ],
)
def test_too_little_memory_is_one_line(rows, message):
    with pytest.raises(UserError, match=message):
        rows.run(needing(0, []))


def test_other_failures_are_not_hidden():
    def work(number: int) -> None:
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        Rows(None).run(work)
