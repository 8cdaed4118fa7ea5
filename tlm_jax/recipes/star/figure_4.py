"""The published accuracies of STaR on addition, to be drawn beside one's own.

Zelikman et al. 2022, arXiv:2203.14465v1, Figure 4, read from the vector paths of the PDF: shares of
right answers by number of digits, loop 0 first, +-0.2 %. The two arms differ in their step
schedules, too: 300 + 20 (n - 1) with rationalization, 40 * 1.2^(n - 1) without.
"""

from __future__ import annotations

SOURCE = "Zelikman et al. 2022, arXiv:2203.14465v1, Figure 4, whose arms differ in steps, too"

_RATIONALIZATION = """
1: 14.0 83.5 92.6 99.9 99.9 98.8 95.8 99.9 99.9 99.9 98.9 98.2 98.2 99.9 97.5 99.8 99.9
2: 0.4 32.5 51.9 66.0 87.4 92.4 94.1 92.7 94.9 93.7 96.2 92.8 95.7 94.4 94.6 94.4 96.4
3: 0 6.2 37.2 55.9 74.5 85.9 85.1 88.3 89.1 89.7 90.9 89.2 89.1 87.7 91.6 91.2 90.8
4: 0 0.2 11.0 39.6 57.3 71.7 72.4 75.8 78.6 79.7 81.2 81.2 82.6 80.0 87.0 82.1 84.9
5: 0 0 2.2 19.2 35.8 55.8 56.5 63.0 65.7 65.0 66.7 69.1 71.0 66.5 72.7 70.5 74.9
"""
_PLAIN = """
1: 13.2 86.8 98.7 99.5 98.9 99.0 98.1 98.4 98.6 98.2 96.1 99.2 97.9 98.3 98.8 99.2 98.3
2: 0.6 4.6 11.9 19.0 24.0 25.3 44.9 49.9 54.0 51.1 57.2 63.5 68.5 84.5 90.4 97.2 96.4
3: 0.1 0 0 0.2 0.2 0.4 0.5 0.6 0.7 1.4 1.7 1.7 3.0 4.9 7.9 33.8 54.9
4: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0.3
5: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""


def published() -> dict[str, object]:
    """Returns the figure as `results.json` has it, by arm and number of digits."""
    arms = {"rationalization": _RATIONALIZATION, "plain": _PLAIN}
    return {"source": SOURCE, "arms": {name: _lines(text) for name, text in arms.items()}}


def _lines(text: str) -> dict[str, list[float]]:
    found = {}
    for line in text.strip().split("\n"):
        digits, values = line.split(":")
        found[digits] = [float(value) / 100 for value in values.split()]
    return found
