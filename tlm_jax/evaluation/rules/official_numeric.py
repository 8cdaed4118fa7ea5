"""The rules of FlanT5 specialization and of STaR for GSM8K, faults included."""

from __future__ import annotations

import re
from collections import deque

from tlm_jax.evaluation.rules.rule import Options, Rule


def _last_number(text: str, options: Options = None) -> str | None:
    last = deque(_DIGITS.finditer(text), maxlen=1)
    return last[0].group() if last else None


def _same_float(extracted: str, gold: str) -> bool:
    return float(extracted) == float(gold)


def _after_hashes(text: str, options: Options) -> str | None:
    place = text.find("####")
    if place < 0:
        return None
    end = text.find("\n", place)
    # An end token in front of the mark leaves no mark, and so all that precedes it.
    before = text[: None if end < 0 else end].split(_END_OF_TEXT)[0]
    return before.split("####")[-1].strip() or None


def _hashes_gold(gold: str, options: Options) -> str | None:
    return gold.split("#### ")[-1] or None


def _same_lower(extracted: str, gold: str) -> bool:
    return extracted.lower() == gold.lower()


# As published; `\d` takes the digits of every script, and `float` reads them.
_DIGITS = re.compile(r"\d*\.?\d+")
_END_OF_TEXT = "<|endoftext|>"

LAST_NUMBER = Rule(
    name="official_last_number",
    summary="last match of \\d*\\.?\\d+ in output and gold, equal as floats",
    extract=_last_number,
    read_gold=_last_number,
    same=_same_float,
    source="FlanT5 specialization (FranxYao/FlanT5-CoT-Specialization, src/utils.py)",
    faults=(
        "no thousands commas: 2,000 equals 1,000, and 3,000 does not equal 3000",
        "no minus sign: -10 equals 10",
        "no markers: a number in a closing remark counts",
    ),
)
AFTER_HASHES = Rule(
    name="official_after_hashes",
    summary="text after #### on the first line that has it, equal to the gold text but for case",
    extract=_after_hashes,
    read_gold=_hashes_gold,
    same=_same_lower,
    source="STaR on GSM8K (ezelikman/STaR, device_inference.py)",
    faults=("numbers are compared as text: 18.0, $18 and 1,800 for 1800 are wrong",),
)
