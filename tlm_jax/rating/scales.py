"""What a rater says of an item: grades from 1 to 5, or one of three words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Value = int | str


@dataclasses.dataclass(frozen=True)
class Scale:
    """Fields that are all rated by the same ordered values.

    Attributes:
      name: how it is chosen.
      fields: what is rated, each with the question that a rater is asked.
      values: as they are stored, the lowest first, each with what it means.
    """

    name: str
    fields: Mapping[str, str]
    values: Mapping[Value, str]

    def rank(self, value: Value) -> int:
        """Returns the place of a value in their order, from 1."""
        return list(self.values).index(value) + 1

    def is_complete(self, values: Mapping[str, Any]) -> bool:
        """Whether every field is rated."""
        return all(values.get(name) is not None for name in self.fields)

    def refusal(self, name: str, value: Any) -> str | None:
        """Returns why a field cannot have a value, or None if it can."""
        if name not in self.fields:
            return f"{name!r} is no field; expected one of {', '.join(self.fields)}"
        # True equals 1 in Python.
        if isinstance(value, bool) or not isinstance(value, int | str) or value not in self.values:
            expected = ", ".join(map(str, self.values))
            return f"{name} is {str(value)[:40]!r}; expected one of {expected}"
        return None


GRADES = Scale(
    "grades",
    {
        "fluency": "Is it well written and easy to follow?",
        "factuality": "Is what it says true?",
        "informativeness": "Does it say what one has to know to find the answer?",
    },
    {1: "very poor", 2: "poor", 3: "fair", 4: "good", 5: "very good"},
)
"""TeacherLM's: each explanation gets 1 to 5 for three things."""

VERDICT = Scale(
    "verdict",
    {"rating": "Is the incorrect step found, the explanation right, the correction sound?"},
    {
        "poor": "wrong in what matters",
        "good": "helpful, with small faults",
        "excellent": "right in everything",
    },
)
"""LEMA's: of 50 corrections the authors found 35 excellent, 11 good, 4 poor."""

SCALES = {scale.name: scale for scale in (GRADES, VERDICT)}
