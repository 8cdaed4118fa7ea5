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
from tlm_jax.data.teacher_imports.captured import END_OF_TEXT, Captured, Piece, Step, piece_of
from tlm_jax.errors import UserError

Questions = Mapping[str, Mapping[str, Any]]
"""Objects with `question` and perhaps `answer`, `kind`, `options`, by id."""

_LEAST_LOGPROB = -1000.0
"""Below this a server means a probability of zero (-9999 is customary): JSON has no infinity."""

_ROUNDING = 1e-3
"""Log-probabilities of float32 and less are above zero by no more."""

_REPLACED = "\ufffd"
"""What a server writes for bytes that are no UTF-8 by themselves."""


def read_questions(path: Path) -> Questions:
    """Returns the objects of a JSON Lines file by their `id`; records are such objects.

    Raises:
      UserError: a line has no id or question, or an id stands twice.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for number, row in read_json_lines(path, any_text=True):
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
    for number, row in read_json_lines(path, any_text=True):
        place = f"{path}:{number}"
        identifier = str(row.get("custom_id", row.get("id", f"{path.stem}-{number}")))
        asked = _asked(row, identifier, questions, place)
        choices = _choices(row, place)
        first = row.get("sample", 0)
        if not isinstance(first, int):
            raise UserError(f"{place}: sample is {str(first)[:40]!r}, expected a whole number")
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
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else ()):
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
    try:
        entries = _entries(choice)
        if entries is None:
            return None
        end = entries[-1] if entries and choice.get("finish_reason") != "length" else {}
        return [_step(entry, end) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{place}: 'logprobs' is not what the protocol says ({type(error).__name__}: {error})"
        ) from None


def _entries(choice: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Returns the tokens in the form of chat completions, whatever form they have."""
    listed = choice.get("logprobs")
    if isinstance(listed, Mapping) and listed.get("content") is not None:
        return listed["content"]
    if isinstance(listed, Mapping) and listed.get("token_logprobs") is not None:
        written, logprobs = listed["tokens"], listed["token_logprobs"]
        tops = [(top or {}).items() for top in listed.get("top_logprobs") or [None] * len(written)]
    elif isinstance(listed, list) and choice.get("tokens") is not None:
        written, logprobs = choice["tokens"], listed
        none = {"tokens": [], "logprobs": []}
        candidates = choice.get("candidates") or [none] * len(written)
        tops = [zip(top["tokens"], top["logprobs"], strict=True) for top in candidates]
    else:
        return None
    return [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [{"token": other, "logprob": value} for other, value in top],
        }
        for token, logprob, top in zip(written, logprobs, tops, strict=True)
    ]


def _step(entry: Mapping[str, Any], last: Mapping[str, Any]) -> Step:
    """Returns a token's step: its candidates and itself, each once.

    Of candidates with the same text the first counts; the others' mass becomes part of the tail.
    llama.cpp gives a character of several tokens as one entry, with the candidates of its last
    token: these say nothing about the character, and are left out.

    Args:
      entry: as of chat completions.
      last: the text's last one, where it may be the token that ends it.
    """
    found: dict[Piece | None, float] = {}
    for top in entry.get("top_logprobs") or ():
        found.setdefault(_piece(top, last), _nats(top["logprob"]))
    piece = _piece(entry, last)
    best = max(found, key=found.__getitem__, default=b"")
    if piece is not None and _within_character(best) and not _within_character(piece):
        return Step(piece, ())
    if piece is None:
        piece = piece_of(entry["token"])
    if entry.get("logprob") is not None:
        found.setdefault(piece, _nats(entry["logprob"]))
    return Step(piece, tuple((other, p) for other, p in found.items() if other is not None))


def _piece(entry: Mapping[str, Any], last: Mapping[str, Any]) -> Piece | None:
    """Returns what a token adds to the text; None where the text is no UTF-8 and no bytes tell.

    llama.cpp writes the token that ends a text, and every other special one, as an empty text.
    """
    token, given = entry["token"], entry.get("bytes")
    if token == "" and not given:
        ends = last.get("token") == "" and entry.get("id") == last.get("id")
        return END_OF_TEXT if ends else b""
    if given is None and _REPLACED in token:
        return None
    return piece_of(token, given)


def _within_character(piece: Piece | None) -> bool:
    """Whether a token goes on with a character of UTF-8 that began before it, or may do so."""
    return piece is None or (isinstance(piece, bytes) and 0x80 <= (piece or b"\0")[0] < 0xC0)


def _nats(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < _ROUNDING:
        raise ValueError(f"{str(value)[:40]!r} is no log-probability")
    return float(value) if value > _LEAST_LOGPROB else -math.inf
