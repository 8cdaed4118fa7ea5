"""Answers of OpenAI-compatible servers with log-probabilities, in JSON Lines.

A line is an answer by itself (`choices`), or has one in `response`, as batch outputs do, or is a
sample of `tlm_jax.infer` from a server (`tokens`, `logprobs`, `candidates`). Question and gold
answer stand on the line (`question`, else `prompt` or the last of the user's `messages`; `answer`
or `gold`), or in a file of questions with the same ids. Source: the API reference, chat completions
(`logprobs.content[].top_logprobs`, with bytes) and completions (`logprobs.top_logprobs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import read_json_lines
from tlm_jax.data.teacher_imports.captured import Captured, Piece, Step, piece_of
from tlm_jax.errors import UserError

Questions = Mapping[str, Mapping[str, Any]]
"""Objects with `question` and perhaps `answer`, `kind`, `options`, by id."""

_LEAST_LOGPROB = -1000.0
"""Below this a server means a probability of zero (-9999 is customary): JSON has no infinity."""


def read_questions(path: Path) -> Questions:
    """Returns the objects of a JSON Lines file by their `id`; records are such objects.

    Raises:
      UserError: a line has no id or question, or an id stands twice.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for number, row in read_json_lines(path):
        if not isinstance(row.get("question"), str) or "id" not in row:
            raise UserError(f"{path}:{number}: expected an object with 'id' and 'question'")
        if str(row["id"]) in found:
            raise UserError(f"{path}:{number}: the id {row['id']!r} stands twice")
        found[str(row["id"])] = row
    return found


def read_answers(path: Path, questions: Questions | None = None) -> Iterator[Captured]:
    """Yields each choice of each answer.

    Args:
      path: the JSON Lines file.
      questions: where the lines do not say what was asked.

    Raises:
      UserError: a line is no answer, or its question is not to be found.
    """
    for number, row in read_json_lines(path):
        place = f"{path}:{number}"
        identifier = str(row.get("custom_id", row.get("id", f"{path.stem}-{number}")))
        asked = _asked(row, identifier, questions, place)
        choices = _choices(row, place)
        first = int(row.get("sample", 0))
        for index, choice in enumerate(choices, start=first):
            alone = len(choices) == 1 and "sample" not in row
            yield Captured(
                id=identifier if alone else f"{identifier}/{index}",
                place=place,
                text=_text(choice).strip(),
                steps=_steps(choice, place),
                question_id=identifier,
                finished=choice.get("finish_reason") not in ("length", "repetition"),
                **asked,
            )


def _asked(
    row: Mapping[str, Any], identifier: str, questions: Questions | None, place: str
) -> dict[str, Any]:
    about = row
    if questions is not None:
        if identifier not in questions:
            raise UserError(f"{place}: the file of questions has no id {identifier!r}")
        about = questions[identifier]
    question = about.get("question") or about.get("prompt") or _last_user_message(row)
    if not isinstance(question, str):
        raise UserError(
            f"{place} does not say what was asked: expected 'question', 'prompt' or 'messages' on "
            "the line, or --questions FILE with the id " + repr(identifier)
        )
    answer, options = about.get("answer", about.get("gold")), about.get("options")
    return {
        "question": question,
        "answer": None if answer in (None, "") else str(answer),
        "kind": about.get("kind", about.get("rule")),
        "options": tuple(options) if isinstance(options, list) else None,
        "correct": row["correct"] if isinstance(row.get("correct"), bool) else None,
    }


def _last_user_message(row: Mapping[str, Any]) -> Any:
    request = row.get("request")
    body = request.get("body", request) if isinstance(request, Mapping) else row
    for message in reversed(body.get("messages") or ()):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return message.get("content")
    return body.get("prompt")


def _choices(row: Mapping[str, Any], place: str) -> Sequence[Mapping[str, Any]]:
    answer = row.get("response", row)
    if isinstance(answer, Mapping) and isinstance(answer.get("body"), Mapping):
        answer = answer["body"]
    if isinstance(answer, Mapping):
        choices = answer.get("choices")
        if isinstance(choices, list) and all(isinstance(choice, Mapping) for choice in choices):
            return choices
        if "text" in answer and "num_tokens" in answer:
            return [answer]  # a sample of tlm_jax.infer
    raise UserError(
        f"{place}: no answer of a server: expected 'choices', or 'response' with them, or a sample "
        "of tlm_jax.infer"
    )


def _text(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    return text if isinstance(text, str) else ""


def _steps(choice: Mapping[str, Any], place: str) -> list[Step] | None:
    """Returns the steps; None where the server gave no log-probabilities.

    Raises:
      UserError: they are not what the protocol says.
    """
    listed = choice.get("logprobs")
    try:
        if isinstance(listed, Mapping) and listed.get("content") is not None:
            return [_chat_step(entry) for entry in listed["content"]]
        if isinstance(listed, Mapping) and listed.get("token_logprobs") is not None:
            tops = listed.get("top_logprobs") or [None] * len(listed["tokens"])
            columns = (listed["tokens"], listed["token_logprobs"], tops)
            return [_step(t, p, (top or {}).items()) for t, p, top in zip(*columns, strict=True)]
        if isinstance(listed, list) and choice.get("tokens") is not None:
            tops = choice.get("candidates") or [{"tokens": [], "logprobs": []}] * len(listed)
            columns = (choice["tokens"], listed, tops)
            return [
                _step(t, p, zip(top["tokens"], top["logprobs"], strict=True))
                for t, p, top in zip(*columns, strict=True)
            ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{place}: 'logprobs' is not what the protocol says ({type(error).__name__}: {error})"
        ) from None
    return None


def _chat_step(entry: Mapping[str, Any]) -> Step:
    piece = piece_of(entry["token"], entry.get("bytes"))
    tops = (
        (piece_of(top["token"], top.get("bytes")), top["logprob"])
        for top in entry.get("top_logprobs") or ()
    )
    return Step(piece, _alternatives(piece, entry.get("logprob"), tops))


def _step(token: str, logprob: float | None, tops: Any) -> Step:
    piece = piece_of(token)
    return Step(piece, _alternatives(piece, logprob, ((piece_of(t), p) for t, p in tops)))


def _alternatives(
    piece: Piece, logprob: float | None, tops: Iterator[tuple[Piece, float]]
) -> tuple[tuple[Piece, float], ...]:
    """Returns the candidates and the written token, each once; those of the same text count once.

    Where two tokens of a vocabulary have one text, the second's mass becomes part of the tail.
    """
    found: dict[Piece, float] = {}
    for other, value in tops:
        found.setdefault(other, _nats(value))
    if logprob is not None:
        found.setdefault(piece, _nats(logprob))
    return tuple(found.items())


def _nats(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{str(value)[:40]!r} is no log-probability")
    return float(value) if value > _LEAST_LOGPROB else -math.inf
