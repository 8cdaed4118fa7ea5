"""Charts put values where they belong, break at gaps and lose no spike."""

import json
import re
from html import unescape

import pytest

from tlm_jax.reports.chart import Series, interval_bar, line_chart, short_number


def paths(svg):
    return re.findall(r'<path d="([^"]*)"', svg)


def drawn_series(svg):
    return json.loads(unescape(re.search(r'data-chart="([^"]*)"', svg)[1]))["series"]


def test_places_by_hand():
    # x: 52 to 500 for steps 0 to 100; y: 194 (0 %) to 10 (100 %).
    svg = line_chart("A", [Series("a", [(0, 0.0), (50, 0.5), (100, 1.0)])], percent=True)
    assert paths(svg) == ["M52.0,194.0L276.0,102.0L500.0,10.0"]
    for label in ("0%", "25%", "50%", "75%", "100%"):
        assert f">{label}</text>" in svg


def test_a_value_that_is_not_finite_breaks_the_line():
    svg = line_chart(
        "A", [Series("a", [(0, 0.0), (25, None), (50, 0.5), (100, 1.0)])], percent=True
    )
    assert paths(svg) == ["M52.0,194.0M276.0,102.0L500.0,10.0"]


def test_logarithmic_axis():
    points = [(0, 1.0), (50, 10.0), (60, 0.0), (100, 100.0)]
    svg = line_chart("A", [Series("a", points)], logarithmic=True)
    first, middle, last = (float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", paths(svg)[0]))
    assert first - middle == pytest.approx(middle - last, abs=0.2)
    assert re.findall(r'class="end">([^<]*)<', svg) == ["1", "3", "10", "30", "100"]


def test_thinning_keeps_spikes_and_order():
    points = [(i, 1.0) for i in range(10_000)]
    points[6543] = (6543, 50.0)
    points[6544] = (6544, -50.0)
    (series,) = drawn_series(line_chart("A", [Series("a", points)]))
    assert len(series["points"]) <= 400
    assert [6543, 50.0] in series["points"]
    assert [6544, -50.0] in series["points"]
    assert series["points"] == sorted(series["points"])


def test_long_lines_have_a_running_mean_unless_told_not_to():
    noisy = [(i, float(i % 2)) for i in range(200)]
    assert len(paths(line_chart("A", [Series("a", noisy)]))) == 2
    assert len(paths(line_chart("A", [Series("a", noisy, smooth=False)]))) == 1


@pytest.mark.parametrize(
    "points", [[(5, 2.0)], [(5, 0.0)], [(0, 3.0), (9, 3.0)], [(0, -1e-30), (1, 1e30)]]
)
@pytest.mark.parametrize("options", [{}, {"from_zero": True}, {"percent": True}])
def test_odd_ranges_are_drawn(points, options):
    svg = line_chart("A", [Series("a", points)], **options)
    assert "nan" not in paths(svg)[0]
    assert "</svg>" in svg


@pytest.mark.parametrize("value", [1e-9, 1.0, 3e7])
def test_one_value_on_a_logarithmic_axis(value):
    svg = line_chart("A", [Series("a", [(0, value), (1, value)])], logarithmic=True)
    assert "</svg>" in svg


def test_nothing_finite_is_said():
    chart = line_chart("Loss", [Series("a", [(1, None)]), Series("b", [])])
    assert "Nothing was recorded." in chart
    assert "<svg" not in chart


def test_names_are_escaped():
    svg = line_chart("<T>", [Series("<a>", [(0, 1.0)]), Series('"><script>', [(0, 1.0)])])
    assert "<a>" not in svg
    assert "<script" not in svg


def test_colours_and_marks():
    svg = line_chart(
        "A",
        [Series("a", [(0, 1.0), (100, 2.0)], colour=2)],
        marked_steps=[50],
    )
    assert 'stroke="var(--series-3)"' in svg
    assert '<line x1="276.0" x2="276.0" y1="186" y2="194" class="skipped"/>' in svg


def test_interval_bar():
    bar = interval_bar(0.5, 0.25, 0.75)
    assert '<line x1="32.0" x2="88.0" y1="9" y2="9" class="interval"/>' in bar
    assert 'cx="60.0"' in bar
    assert "50.0%, interval 25.0% to 75.0%" in bar


def test_short_numbers():
    values = [0, 0.5, 2e-5, 1500, 10_000, 1_500_000, 2e12, -12_500]
    assert [short_number(v) for v in values] == [
        "0",
        "0.5",
        "2e-05",
        "1500",
        "10k",
        "1.5M",
        "2T",
        "-12.5k",
    ]
