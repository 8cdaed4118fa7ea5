"""STaR's rule for CommonsenseQA, faults included."""

from __future__ import annotations

from tlm_jax.evaluation.rules.rule import Options, Rule, stripped_gold


def _third_from_end(text: str, options: Options) -> str | None:
    line = text.split("\n", 1)[0].split("<|endoftext|>", 1)[0]
    return line[-3] if len(line) >= 3 else None


def _same_letter(extracted: str, gold: str) -> bool:
    return extracted.lower() == gold.lower()


THIRD_FROM_END = Rule(
    name="official_third_from_end",
    summary="third character from the end of the first line, which should end in '(e).'",
    extract=_third_from_end,
    read_gold=stripped_gold,
    same=_same_letter,
    source="STaR on CommonsenseQA (ezelikman/STaR, device_inference.py)",
    faults=(
        "without the final full stop, or with anything behind it, another character counts",
        "only the first line counts",
    ),
)
