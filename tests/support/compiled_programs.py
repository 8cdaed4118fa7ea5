"""Reads the text of compiled programs."""

from __future__ import annotations

import re


def loops_of(text: str) -> str:
    """Returns the bodies of a compiled program's while loops, nested ones' included."""
    bodies = set(re.findall(r"body=%?([\w.\-]+)", text))
    parts = re.split(r"\n(?=%?[\w.\-]+ \(|ENTRY )", text)
    return "\n".join(p for p in parts if p.lstrip("%").split(" ")[0] in bodies)
