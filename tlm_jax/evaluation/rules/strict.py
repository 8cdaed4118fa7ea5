"""The strict rules, one for each kind of record: what this project grades with."""

from __future__ import annotations

import re

from tlm_jax.evaluation.choice_answers import extract_choice
from tlm_jax.evaluation.extraction import after_marker, extract_boolean, extract_text
from tlm_jax.evaluation.number_answers import extract_number
from tlm_jax.evaluation.number_clauses import whole_number
from tlm_jax.evaluation.numbers import close, evaluate, format_number
from tlm_jax.evaluation.rules.rule import Options, Rule, stripped_gold


def _numeric(text: str, options: Options) -> str | None:
    value = extract_number(text)
    return None if value is None else format_number(value)


def _numeric_gold(gold: str, options: Options) -> str | None:
    # Whole solutions serve as gold, too (GSM8K's end in `#### 18`), but no number is guessed.
    value = whole_number(gold) if after_marker(gold) is None else extract_number(gold)
    return None if value is None else format_number(value)


def _same_number(extracted: str, gold: str) -> bool:
    one, other = evaluate(extracted), evaluate(gold)
    return one is not None and other is not None and close(one, other)


def _choice(text: str, options: Options) -> str | None:
    return extract_choice(text, options or ())


def _boolean(text: str, options: Options) -> str | None:
    return extract_boolean(text)


def _text(text: str, options: Options) -> str | None:
    return extract_text(text)


def _same_word(extracted: str, gold: str) -> bool:
    return extracted.strip().lower() == gold.strip().lower()


def _same_text(extracted: str, gold: str) -> bool:
    one, other = squeezed(extracted), squeezed(gold)
    return one == other or _unquoted(one) == _unquoted(other)


def _unquoted(text: str) -> str:
    """Returns a text without marks of quotation or emphasis around the whole of it."""
    quoted = _QUOTED.fullmatch(text)
    return squeezed(quoted["inner"]) if quoted else text


def squeezed(text: str) -> str:
    """Returns a text with single spaces, without white space at its ends and one full stop."""
    return " ".join(text.strip().removesuffix(".").split())


_QUOTED = re.compile(r"([\"'`*_“])(?P<inner>[^\"'`*_“”]+)(?:\1|”)")

NUMERIC = Rule(
    name="numeric",
    summary="number after the last marker, else the last number; equal up to 1e-6, relative",
    extract=_numeric,
    read_gold=_numeric_gold,
    same=_same_number,
)
CHOICE = Rule(
    name="choice",
    summary="letter of an option, or its text; case is ignored",
    extract=_choice,
    read_gold=_choice,
    same=_same_word,
)
BOOLEAN = Rule(
    name="boolean",
    summary="yes, true, correct, or no, false; 'not' turns it round",
    extract=_boolean,
    read_gold=_boolean,
    same=_same_word,
)
TEXT = Rule(
    name="text",
    summary="line after the last marker, else the last box, else the last line; equal text",
    extract=_text,
    read_gold=stripped_gold,
    same=_same_text,
)
