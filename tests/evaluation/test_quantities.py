"""Quantities in text, as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.evaluation.quantities import find_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("no number", []),
        ("1,000 and 12,345.50", [1000, 12345.5]),
        ("$1,234.5 £2 €3", [1234.5, 2, 3]),
        ("-5 and $-6 and -$7 and −8", [-5, -6, -7, -8]),
        ("16-3 = 13", [16, 3, 13]),
        ("16 - 3", [16, 3]),
        ("a-3 (-4)", [3, -4]),
        ("3/4 cup, 1 1/2 cups", [0.75, 1.5]),
        ("-3/4", [-0.75]),
        ("1/0 or 2", [2]),
        (".5 0.25 5.", [0.5, 0.25, 5]),
        ("1e3 2E-2 3em 1e999", [1000, 0.02, 3]),
        ("50% of 3kg", [50, 3]),
        ("٣ ½ ²", [0.5]),
        ("1, 2", [1, 2]),
        ("9" * 5000, []),
    ],
)
def test_numbers_are_found(text, numbers):
    assert find_numbers(text) == pytest.approx(numbers)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("7{,}250", 7250), ("7,\\!250", 7250), ("7 250", 7250), ("7\u202f250", 7250)),
        *(("7\u00a0250", 7250), ("1'000", 1000), ("1.234.567", 1234567), ("12,34,567", 1234567)),
        *(("3,4", 3.4), ("1,2", 1.2), ("0,125", 0.125), ("1.234,56", 1234.56), ("12,5", 12.5)),
        *(("1,234", 1234), ("1.234", 1.234), ("3,4567", 3.4567)),
        *(("–5", -5), ("－5", -5), ("‑5", -5), ("-$3", -3), ("$-3$", -3), ("minus 3", -3)),
        *(("negative 3", -3), ("+3", 3), ("５０", 50), ("-½", -0.5)),
        *(("½", 0.5), ("2½", 2.5), ("2 ½", 2.5), ("1⁄2", 0.5), ("2 and a half", 2.5)),
        *(("\\frac{3}{4}", 0.75), ("\\dfrac34", 0.75), ("1\\frac{1}{4}", 1.25)),
        *(("3 × 10^5", 3e5), ("3\\times10^{5}", 3e5), ("3 x 10^-2", 0.03), ("3·10⁵", 3e5)),
        *(("2^10", 1024), ("10⁵", 1e5), ("2**5", 32), ("1.5e+06", 1.5e6)),
        *(("1.5 million", 1.5e6), ("3 thousand", 3000), ("$5k", 5000), ("$1.5M", 1.5e6)),
        *(("5m", 5), ("5km", 5), ("5 m²", 5), ("US$5", 5), ("USD 5", 5), ("Rs.500", 500)),
        *(("5 €", 5), ("5$", 5), ("\\$5", 5), ("5\\%", 5), ("8,5 %", 8.5)),
    ],
)
def test_one_number_written_in_many_ways(text, number):
    assert find_numbers(text) == pytest.approx([number])
    assert find_numbers(f"It was {text}.") == pytest.approx([number])


@pytest.mark.parametrize(
    "text",
    [
        *("3:30", "12:00:05", "3 : 4", "2024-05-12", "5/12/2024", "12.5.2024", "May 12, 2024"),
        *("10-15", "10–15", "1.5-2.5", "between 40 and 44", "1,2,3", "(3,4)", "[0,1]", "1.2.3"),
        *("9**9**9", "9^9^9", "CO2", "x_1", "H2O", "1e999", "1/0", "2^9999"),
    ],
)
def test_what_is_no_single_number(text):
    assert find_numbers(text) == []


@given(st.integers(-(10**12), 10**12))
def test_thousands_commas_make_no_difference(value):
    assert find_numbers(f"{value:,}") == [value]


@given(st.text(alphabet="0123456789+-*/(). ,$e%=abx\n×−½²:^'_{}\\", max_size=80))
def test_no_text_makes_the_reader_fail(text):
    assert all(math.isfinite(n) for n in find_numbers(text))


@pytest.mark.parametrize(
    "text",
    [
        *("(", "1/", "-", "1,", "$ ", "9", ".1", "1 1/", "1e", "1 ", "1.", "1:", "9^", "1'"),
        *("minus ", "1-", "between 1 and ", "\\frac{", "½", "²", "{,}", "\\text{"),
    ],
)
def test_long_hostile_text_is_read_in_a_moment(text):
    # Backtracking would take hours here.
    assert len(find_numbers(text * 5_000)) <= 5_000
