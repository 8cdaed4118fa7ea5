"""Draws line charts as inline SVG, with a small script that shows values under the pointer."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup

from tlm_jax.reports.templating import render

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 500, 10, 194
COLOURS = 6
_MOST_POINTS = 400

Number = float | int
Point = tuple[Number, Number | None]
"""(x, y); None where y was not finite."""


@dataclasses.dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
      name: for the legend and the pointer.
      points: (x, y), by ascending x; a None y breaks the line.
      band: (x, low, high), shaded behind the line.
      dots: whether to mark every point, where there are few.
      smooth: whether a line of more than 60 points is drawn thin, with its running mean over 1/25
        of the points thick above it.
      colour: of the palette; the same thing has the same colour in every chart.
    """

    name: str
    points: Sequence[Point]
    band: Sequence[tuple[Number, Number, Number]] = ()
    dots: bool = False
    smooth: bool = True
    colour: int = 0


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str = "",
    over: str = "step",
    percent: bool = False,
    logarithmic: bool = False,
    from_zero: bool = False,
    marked_steps: Sequence[int] = (),
) -> Markup:
    """Returns a chart in a card of its own.

    Args:
      title: what is drawn.
      series: the lines; those without a finite point are left out.
      unit: of the vertical axis, after the title.
      over: what the horizontal axis counts, in the singular.
      percent: values are shares, shown as per cent on an axis from 0 to 100.
      logarithmic: draws log10(y); points that are not positive break the line.
      from_zero: whether the vertical axis begins at 0.
      marked_steps: steps ticked in red on the horizontal axis.
    """
    drawn = [s for s in (_thinned(s, logarithmic) for s in series) if _finite(s.points)]
    if not drawn:
        return render("chart.html", title=title, unit=unit, chart=None)
    axes = _Axes.around(drawn, percent, logarithmic, from_zero)
    data = {
        "x": [axes.x0, axes.x1, LEFT, RIGHT],
        "over": over,
        "percent": percent,
        "series": [
            {"name": s.name, "colour": palette(s.colour), "points": s.points} for s in drawn
        ],
    }
    named = len(drawn) > 1 or drawn[0].name != title.lower()
    chart = {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": RIGHT,
        "top": TOP,
        "bottom": BOTTOM,
        "label": f"{title} by {over}: {', '.join(s.name for s in drawn)}",
        "data": json.dumps(data),
        "legend": colours((s.name, s.colour) for s in drawn) if named else (),
        "y_ticks": [{"y": axes.y(value), "label": axes.y_label(value)} for value in axes.y_ticks()],
        "x_ticks": [{"x": axes.x(value), "label": short_number(value)} for value in axes.x_ticks()],
        "marks": [axes.x(step) for step in marked_steps],
        "lines": [_line(s, axes) for s in drawn],
    }
    return render("chart.html", title=title, unit=unit, chart=chart)


def interval_bar(
    share: Number, low: Number, high: Number, colour: int = 0, label: str | None = None
) -> Markup:
    """Returns a small picture of a share with its interval, on a scale from 0 to 1.

    `label` says it to who cannot see the picture; None says it in per cent.
    """
    low_x, share_x, high_x = (round(4 + 112 * value, 1) for value in (low, share, high))
    return render(
        "interval_bar.html",
        low=low_x,
        share=share_x,
        high=high_x,
        colour=palette(colour) if colour else None,
        label=label or f"{share:.1%}, interval {low:.1%} to {high:.1%}",
    )


def palette(colour: int) -> str:
    """Returns the CSS value of a colour by its number."""
    return f"var(--series-{colour % COLOURS + 1})"


def colours(names: Iterable[tuple[str, int]]) -> list[tuple[str, str]]:
    """Returns names with the CSS values of their colours, for a legend."""
    return [(name, palette(colour)) for name, colour in names]


def short_number(value: Number) -> str:
    """Returns a number for an axis: 12k, 1.5M, 0.03, 2e-05."""
    size = abs(value)
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.4g}{suffix}"
    return f"{value:.4g}"


@dataclasses.dataclass(frozen=True)
class _Axes:
    """Maps values to places; y0 and y1 are logarithms where the axis is logarithmic."""

    x0: Number
    x1: Number
    y0: Number
    y1: Number
    percent: bool
    logarithmic: bool

    @classmethod
    def around(
        cls, series: Sequence[Series], percent: bool, logarithmic: bool, from_zero: bool
    ) -> _Axes:
        points = [p for s in series for p in _finite(s.points)]
        x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
        ys = [y for _, y in points] + [y for s in series for _, *ends in s.band for y in ends]
        low, high = min(ys), max(ys)
        if percent:
            low, high = 0.0, 1.0
        elif logarithmic:
            low, high = math.log10(low), math.log10(high)
        elif from_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        margin = 0.0 if percent else 0.06 * (high - low) or 0.5 * abs(high) or 1.0
        y0 = low if from_zero and low == 0.0 else low - margin
        return cls(x0, x1 if x1 > x0 else x0 + 1, y0, high + margin, percent, logarithmic)

    def x(self, value: Number) -> float:
        return round(LEFT + (RIGHT - LEFT) * (value - self.x0) / (self.x1 - self.x0), 1)

    def y(self, value: Number) -> float:
        value = math.log10(value) if self.logarithmic else value
        return round(BOTTOM - (BOTTOM - TOP) * (value - self.y0) / (self.y1 - self.y0), 1)

    def y_label(self, tick: Number) -> str:
        return f"{100 * tick:.4g}%" if self.percent else short_number(tick)

    def x_ticks(self) -> Sequence[Number]:
        ticks = _ticks(self.x0, self.x1, 5, least=1)
        if not ticks or self.x(ticks[0]) - LEFT > 30:
            ticks = [float(self.x0), *ticks]
        return ticks

    def y_ticks(self) -> Sequence[Number]:
        if self.percent:
            return [0, 0.25, 0.5, 0.75, 1]
        if not self.logarithmic:
            return _ticks(self.y0, self.y1, 4)
        exponents = range(math.floor(self.y0), math.ceil(self.y1))
        for factors in ((1, 2, 5), (1, 3), (1,)):
            values = [f * 10.0**e for e in exponents for f in factors]
            inside = [v for v in values if self.y0 <= math.log10(v) <= self.y1]
            if len(inside) <= 6:
                break
        return inside[:: max(1, math.ceil(len(inside) / 6))] or [10**self.y0]


def _line(series: Series, axes: _Axes) -> dict[str, object]:
    smooth = _running_mean(series.points) if series.smooth and len(series.points) > 60 else None
    upper = [f"{axes.x(x)},{axes.y(high)}" for x, _, high in series.band]
    lower = [f"{axes.x(x)},{axes.y(low)}" for x, low, _ in reversed(series.band)]
    dotted = series.dots or len(series.points) == 1
    return {
        "colour": palette(series.colour),
        "band": " ".join(upper + lower),
        "path": _path(series.points, axes),
        "smooth": _path(smooth, axes) if smooth else None,
        "dots": [(axes.x(x), axes.y(y)) for x, y in _finite(series.points)] if dotted else (),
    }


def _path(points: Sequence[Point], axes: _Axes) -> str:
    commands, move = [], True
    for x, y in points:
        if y is not None:
            commands.append(f"{'M' if move else 'L'}{axes.x(x)},{axes.y(y)}")
        move = y is None
    return "".join(commands)


def _running_mean(points: Sequence[Point]) -> list[Point]:
    half = max(1, len(points) // 50)
    means: list[Point] = []
    for i, (x, y) in enumerate(points):
        window = [v for _, v in points[max(0, i - half) : i + half + 1] if v is not None]
        means.append((x, sum(window) / len(window) if y is not None else None))
    return means


def _thinned(series: Series, logarithmic: bool) -> Series:
    """Keeps the lowest and the highest point of every bucket, so that no spike is lost."""
    points = [(x, None if y is None or (logarithmic and y <= 0) else y) for x, y in series.points]
    if len(points) > _MOST_POINTS:
        size = math.ceil(len(points) / (_MOST_POINTS // 2))
        points = [
            point
            for start in range(0, len(points), size)
            for point in _extremes(points[start : start + size])
        ]
    return dataclasses.replace(series, points=points)


def _extremes(bucket: Sequence[Point]) -> list[Point]:
    finite = _finite(bucket)
    if not finite:
        return [(bucket[0][0], None)]
    by_value: Callable[[tuple[Number, Number]], Number] = lambda point: point[1]  # noqa: E731
    return sorted({min(finite, key=by_value), max(finite, key=by_value)})


def _finite(points: Iterable[Point]) -> list[tuple[Number, Number]]:
    return [(x, y) for x, y in points if y is not None]


def _ticks(low: Number, high: Number, about: int, least: Number = 0) -> list[float]:
    """Returns round values between `low` and `high`, about so many, at least `least` apart."""
    raw = max((high - low) / about, least)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded, for 3 * 0.1 is not 0.3.
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]
