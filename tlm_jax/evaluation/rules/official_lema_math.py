"""LEMA's rule for MATH: Hendrycks' normal form of LaTeX, compared as text; faults included."""

from __future__ import annotations

import re

from tlm_jax.evaluation.rules.rule import Options, Rule

_MARKER = "The answer is "
_BOX = "\\boxed"


def _final_result(text: str, options: Options = None) -> str | None:
    """Returns the normal form of the answer, or None where the official code has an empty one."""
    text = text.split("Q:")[0].split("Question:")[0].replace("The answer is: ", _MARKER)
    if _MARKER not in text:
        found = _last_box(text)
    else:
        found = text.split(_MARKER)[-1].strip().removesuffix(".").replace("$", "").strip()
        if "boxed{" in found:
            found = _last_box(found)
    return _normal_form(found) or None if found else None


def _gold(gold: str, options: Options) -> str | None:
    """Reads whole solutions as the official code does, and bare answers as if boxed."""
    marked = _MARKER in gold or "The answer is: " in gold or _BOX in gold
    return _final_result(gold if marked else f"{_BOX}{{{gold.strip()}}}")


def _last_box(text: str) -> str | None:
    start = text.rfind(_BOX)
    if start < 0 or not text.startswith(f"{_BOX}{{", start):
        return None
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return text[start + len(_BOX) + 1 : match.start()]
    return None


def _normal_form(text: str) -> str:
    """Returns LaTeX as Hendrycks' script writes it; empty where that fails."""
    for old, new in _REPLACEMENTS:
        text = text.replace(old, new)
    number, *units = text.split("\\text{ ")
    if len(units) > 1:
        return ""
    text = number.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = f"0{text}"
    name, *value = text.split("=")
    if len(value) == 1 and len(name) <= 2:
        text = value[0]
    rooted = _braced_roots(text)
    fractions = None if rooted is None else _braced_fractions(rooted.replace(" ", ""))
    if fractions is None:
        return ""
    return _slashed("\\frac{1}{2}" if fractions == "0.5" else fractions)


_REPLACEMENTS = (
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
)


def _braced_roots(text: str) -> str | None:
    """Returns `\\sqrt3` as `\\sqrt{3}`; None where nothing follows a root."""
    start, *parts = text.split("\\sqrt")
    if not all(parts):
        return None
    braced = (part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}" for part in parts)
    return "\\sqrt".join([start, *braced])


def _braced_fractions(text: str) -> str | None:
    """Returns `\\frac12` as `\\frac{1}{2}`; None where nothing follows one."""
    start, *parts = text.split("\\frac")
    braced = [start]
    for part in parts:
        if not part:
            return None
        if part[0] == "{":
            braced.append(part)
            continue
        if len(part) < 2:
            return text
        above, below = part[0], part[1]
        braced.append(f"{{{above}}}{part[1:] if below == '{' else f'{{{below}}}{part[2:]}'}")
    return "\\frac".join(braced)


def _slashed(text: str) -> str:
    """Returns `3/4` as `\\frac{3}{4}`, whole numbers only."""
    match = _SLASH.fullmatch(text)
    return f"\\frac{{{match[1]}}}{{{match[2]}}}" if match else text


_SLASH = re.compile(r"(0|-?[1-9][0-9]*)/(0|-?[1-9][0-9]*)")


def _same_text(extracted: str, gold: str) -> bool:
    return extracted == gold


LEMA_MATH = Rule(
    name="official_lema_math",
    summary="text after the last 'The answer is ', or the last box; equal in Hendrycks' form",
    extract=_final_result,
    read_gold=_gold,
    same=_same_text,
    source="LEMA on MATH (microsoft/LEMA, inference_code/utils.py; after hendrycks/math)",
    faults=(
        "text, not mathematics: 0.25 is not 1/4, 2.0 is not 2, 1,000 is not 1000",
        "only 0.5 is a fraction; x=5 is 5, but xyz=5 is not",
        "everything from the first 'Q:' on is cut, in the middle of a solution too",
        "a text with two units, or with \\sqrt or \\frac at its end, has no answer",
        "a closing remark behind 'The answer is 5.' belongs to the answer",
    ),
)
