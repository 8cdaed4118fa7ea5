"""A little data set of sums, and the official form of a teacher's solutions of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlm_jax.data.records import Record

DATA_SET = "little_sums"
DATA_DIR = Path("where_the_sums_are")
STEP, LINE = " step", "\n"


def sum_record(first: int, second: int, split: str = "train") -> Record:
    total = first + second
    return Record(
        id=f"{split}-{first}+{second}",
        dataset=DATA_SET,
        split=split,
        kind="numeric",
        question=f"What is {first} + {second}?",
        options=None,
        answer=str(total),
        rationale=f"{first} + {second} = {total}",
    )


TRAIN = [sum_record(a, b) for a in range(1, 5) for b in range(1, 4)]
DEV = [sum_record(a, b, "dev") for a in (5, 6) for b in (1, 2)]
TEST = [sum_record(a, b, "test") for a in (7, 8) for b in (1, 2)]


Candidates = Sequence[tuple[str, float]]


def written_step(token: str, candidates: Candidates = ()) -> str:
    """A step as the official script writes it: the token, then the candidates with it again."""
    entries = [(token, 0.9), *candidates, (token, 0.9)]
    return "".join(f"<<{text!r}>> {p:.4f} " for text, p in entries) + "||| "


def written_sample(
    number: int,
    tokens: Sequence[str],
    candidates: Candidates = (),
    *,
    ending: Sequence[str] = (LINE, LINE),
    text: str | None = None,
) -> str:
    """A sample of a dump; each of its tokens has the same candidates."""
    framed = [STEP, LINE, *tokens, *ending]
    decode = "".join(written_step(token, candidates) for token in framed)
    written = "".join(tokens) if text is None else text
    return f"Model output {number}: \n{written}\nPer-step decode: {decode}\n"


def written_question(number: int, question: str, answer: str, *samples: str) -> str:
    return f"Question {number}: {question}\nAnswer: work\n#### {answer}\n{''.join(samples)}\n\n\n"


def tokens_of(record: Record, answer: str | None = None) -> list[str]:
    """A solution as tokens of GPT's kind, with a space in front of words."""
    words = f"{record.rationale}\nThe answer is {answer or record.answer}"
    tokens: list[str] = []
    for line in words.split("\n"):
        first, *others = line.split(" ")
        tokens += [*([LINE] if tokens else []), first, *(f" {word}" for word in others)]
    return tokens
