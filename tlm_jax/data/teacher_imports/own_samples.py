"""Samples that `tlm_jax.infer` drew from a model of its own, with candidates at each token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax.data.records import read_json_lines
from tlm_jax.data.teacher_imports.captured import Captured, TokenSteps, Unusable, covering
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import StepDistributions
from tlm_jax.vocabularies.token_bytes import TokenTable


def read_samples(path: Path, table: TokenTable) -> Iterator[Captured]:
    """Yields the samples of a `samples.jsonl`.

    Args:
      path: the file.
      table: of the model that drew them.

    Raises:
      UserError: a line is no sample, or its tokens are not of that vocabulary.
    """
    for number, row in read_json_lines(path, any_text=True):
        place = f"{path}:{number}"
        for name in ("id", "sample", "text", "finish_reason"):
            if name not in row:
                raise UserError(
                    f"{place}: no sample of tlm_jax.infer: no field {name!r}; what servers "
                    "answer is imported as 'openai'"
                )
        question, text = row.get("question", row.get("prompt")), row["text"]
        if question is None and row.get("messages"):
            question = row["messages"][-1]["content"]
        if not isinstance(question, str) or not isinstance(text, str):
            name, value = ("text", text) if isinstance(question, str) else ("question", question)
            raise UserError(f"{place}: the {name} is {type(value).__name__}, expected text")
        answer, options = row.get("gold"), row.get("options")
        yield Captured(
            id=f"{row['id']}/{row['sample']}",
            place=place,
            question=question,
            text=text.strip(),
            steps=_steps(row, table, place),
            question_id=str(row["id"]),
            answer=None if answer in (None, "") else str(answer),
            kind=row.get("kind", row.get("rule")),
            options=tuple(options) if options else None,
            correct=row["correct"] if isinstance(row.get("correct"), bool) else None,
            finished=row["finish_reason"] not in CUT_OFF,
        )


def within_text(found: TokenSteps, text: str, table: TokenTable) -> TokenSteps:
    """Returns the steps that write `text`, and EOS where it comes right behind.

    Raises:
      Unusable: as `captured.covering`.
    """
    ids = found.token_ids
    pieces = [b"" if i in table.special else table.pieces[i] for i in ids.tolist()]
    first, last = covering(pieces, text.encode("utf-8", "surrogatepass"))
    if not all(pieces[first:last]):
        raise Unusable("a special token within the text")
    if last < len(ids) and ids[last] in table.special:
        last += 1
    steps = found.steps
    return TokenSteps(
        ids[first:last],
        StepDistributions(
            steps.ids[first:last],
            steps.logprobs[first:last],
            steps.tail_logprobs[first:last],
            steps.weights[first:last],
        ),
    )


def _steps(row: Mapping[str, Any], table: TokenTable, place: str) -> TokenSteps | None:
    candidates = row.get("candidates")
    if row.get("token_ids") is None or not candidates:
        return None
    try:
        token_ids = np.asarray(row["token_ids"], np.int32)
        ids = np.asarray([c["token_ids"] for c in candidates], np.int32)
        logprobs = np.asarray([c["logprobs"] for c in candidates], np.float32)
        tail = _tails(candidates)
        if not ids.shape == logprobs.shape == (len(token_ids), ids.shape[1]):
            raise ValueError(f"{len(token_ids)} tokens, candidates of shape {ids.shape}")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise UserError(f"{place}: token_ids and candidates do not fit: {error}") from None
    if token_ids.size and not 0 <= token_ids.min() <= token_ids.max() < len(table.pieces):
        raise UserError(
            f"{place}: token {int(token_ids.max())} is beyond the {len(table.pieces):,} of the "
            "vocabulary; name the one of the model that drew the samples"
        )
    return TokenSteps(
        token_ids, StepDistributions(ids, logprobs, tail, np.ones(len(token_ids), np.float32))
    )


def _tails(candidates: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.asarray(
        [-np.inf if c.get("outside_logprob") is None else c["outside_logprob"] for c in candidates],
        np.float32,
    )
