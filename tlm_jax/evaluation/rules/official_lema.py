"""LEMA's rules for arithmetic, faults included; its `eval` is a small arithmetic parser here."""

from __future__ import annotations

import dataclasses
import string

from tlm_jax.evaluation.numbers import evaluate
from tlm_jax.evaluation.rules.rule import Options, Rule

_MARKER = "The answer is "
_NO_LETTERS = str.maketrans("", "", string.ascii_lowercase)


def _the_answer_is(text: str, options: Options = None) -> str | None:
    return repr(_final_result(text))


def _gold(gold: str, options: Options) -> str | None:
    """Reads whole solutions as the official code does, and bare answers as if marked."""
    if not gold.strip():
        return None
    marked = _MARKER in gold or "The answer is: " in gold
    cleaned = _cleaned(gold if marked else _MARKER + gold)
    # Zero is a legal answer, but what cannot be read is zero, too: tell the two apart.
    return None if cleaned is None or _number(cleaned) is None else repr(_number(cleaned))


def _same_float(extracted: str, gold: str) -> bool:
    return float(extracted) == float(gold)


def _same_to_two_decimals(extracted: str, gold: str) -> bool:
    return round(float(extracted), 2) == round(float(gold), 2)


def _final_result(text: str) -> float:
    cleaned = _cleaned(text)
    value = None if cleaned is None else _number(cleaned)
    return 0.0 if value is None else value


def _cleaned(text: str) -> str | None:
    """Returns what the chain leaves of an output, or None where the official code gives up."""
    text = text.split("\n\nQ: ")[0].split("\n\nQuestion: ")[0]
    text = text.replace("The answer is: ", _MARKER)
    if _MARKER not in text:
        return None
    result = text.split(_MARKER)[-1].removesuffix(".")
    result = result.replace("£", "").replace("€", "").removesuffix(".").replace(",", "")
    for mark in ("=", ">>"):
        if mark in result:
            result = result.split(mark)[-1].strip()
    result = result.lower().translate(_NO_LETTERS)
    result = result.split(":")[0].replace("$", "").replace('"', "")
    if "%" in result:
        result = result.strip()
        if not result.endswith("%"):
            return None
        result = result.removesuffix("%")
    return result.removesuffix("/").replace(" ", "") or None


def _number(cleaned: str) -> float | None:
    if any(sign in cleaned for sign in "+-*/"):
        return evaluate(cleaned)
    try:
        return float(cleaned)
    except ValueError:
        return None


THE_ANSWER_IS = Rule(
    name="official_the_answer_is",
    summary="text after the last 'The answer is ', through LEMA's cleaning chain; equal floats",
    extract=_the_answer_is,
    read_gold=_gold,
    same=_same_float,
    source="LEMA (microsoft/LEMA, inference_code/utils.py)",
    faults=(
        "an output without an answer counts as 0, and is right where the answer is 0",
        "letters are deleted, not cut at: '3 dozen 4' is 34, '1e5' is 15",
        "3:30 is 3, and 'The answer is 5. It is' is 0 if the rest is not a number",
        "floats must be exactly equal: 0.333 is not 1/3",
    ),
)
TWO_DECIMALS = dataclasses.replace(
    THE_ANSWER_IS,
    name="official_the_answer_is_rounded",
    summary="as official_the_answer_is, both rounded to two decimals",
    same=_same_to_two_decimals,
    source="LEMA on SVAMP, ASDiv and MAWPS (microsoft/LEMA, inference_code/evaluation.py)",
    faults=(*THE_ANSWER_IS.faults[:-1], "0.004 is 0, and 1/3 is 0.33"),
)
