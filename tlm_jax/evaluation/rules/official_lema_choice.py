"""LEMA's rule for CommonsenseQA: the candidate with the smallest edit distance; faults included."""

from __future__ import annotations

from tlm_jax.data.records import LETTERS
from tlm_jax.evaluation.rules.rule import Options, Rule

_MARKER = "The answer is "
_LONGEST = 10_000


def _nearest_candidate(text: str, options: Options) -> str | None:
    answer = text.replace("The answer is: ", _MARKER).split(_MARKER)[-1].strip().replace(".", "")
    if not options or len(answer) > _LONGEST:
        return None
    distances = [_distance(answer, option) for option in options]
    return LETTERS[distances.index(min(distances))]


def _gold(gold: str, options: Options) -> str | None:
    gold = gold.strip()
    if options and gold in options:
        return LETTERS[list(options).index(gold)]
    return gold if options and len(gold) == 1 and gold in LETTERS[: len(options)] else None


def _same_letter(extracted: str, gold: str) -> bool:
    return extracted == gold


def _distance(one: str, other: str) -> int:
    """Returns the Levenshtein distance: insertions, deletions and replacements of a character."""
    row = list(range(len(other) + 1))
    for place, character in enumerate(one, start=1):
        diagonal, row[0] = row[0], place
        for column, against in enumerate(other, start=1):
            change = diagonal + (character != against)
            diagonal = row[column]
            row[column] = min(change, diagonal + 1, row[column - 1] + 1)
    return row[-1]


LEMA_CHOICE = Rule(
    name="official_lema_choice",
    summary="candidate nearest to the text after the last 'The answer is ' by edit distance",
    extract=_nearest_candidate,
    read_gold=_gold,
    same=_same_letter,
    source="LEMA on CommonsenseQA (microsoft/LEMA); needs --options",
    faults=(
        "there is always an answer, and one far from all candidates is a guess",
        "of equally near candidates the first counts",
        "behind a long remark the longest candidate is the nearest",
        "a letter is compared with the candidates' texts: (B) is none of them",
        "ours: a text of more than 10,000 characters has no answer, for the time it takes",
    ),
)
