"""Answers of OpenAI-compatible servers with log-probabilities, in JSON Lines.

A line is an answer by itself (`choices`), or has one in `response`, as batch outputs do, or is a
sample of `tlm_jax.infer` from a server (`tokens`, `logprobs`, `candidates`). Question and gold
answer stand on the line (`question`, else `prompt` or the last of the user's `messages`; `answer`
or `gold`), or in a file of questions with the same ids. Source: the API reference, chat completions
(`logprobs.content[].top_logprobs`, with bytes) and completions (`logprobs.top_logprobs`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import read_json_lines
from tlm_jax.data.teacher_imports.captured import Captured
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.data.teacher_imports.openai_logprobs import read_choice
from tlm_jax.errors import UserError
from tlm_jax.messages import text_of_content
from tlm_jax.system.terminal import printable

Questions = Mapping[str, Mapping[str, Any]]
"""Objects with `question` and perhaps `answer`, `kind`, `options`, by id."""


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


def read_answers(
    path: Path, questions: Questions | None = None, *, ends: Collection[str] = ()
) -> Iterator[Captured]:
    """Yields each choice of each answer.

    What is odd in one answer (an error in its place, log-probabilities that are none) is told in
    `Captured.problem`, and costs no other.

    Args:
      path: the JSON Lines file.
      questions: where the lines do not say what was asked.
      ends: names of tokens that end a text, beside those that are known.

    Raises:
      UserError: a line is no answer, or its question is not to be found.
    """
    for number, row in read_json_lines(path, any_text=True):
        place = f"{path}:{number}"
        identifier = str(row.get("custom_id", row.get("id", f"{path.stem}-{number}")))
        if (error := _error(row)) is not None:
            told = f"an error in place of an answer: {printable(error)[:80]}"
            yield Captured(identifier, place, "", "", None, problem=told)
            continue
        choices = _choices(row, place)
        asked = _asked(row, identifier, questions, place)
        first = row.get("sample", 0)
        if not isinstance(first, int):
            raise UserError(f"{place}: sample is {str(first)[:40]!r}, expected a whole number")
        for index, choice in enumerate(choices, start=first):
            alone = len(choices) == 1 and "sample" not in row
            yield Captured(
                id=identifier if alone else f"{identifier}/{index}",
                place=place,
                question_id=identifier,
                finished=choice.get("finish_reason") not in CUT_OFF,
                **_solution(choice, row, ends),
                **asked,
            )


def _solution(
    choice: Mapping[str, Any], row: Mapping[str, Any], ends: Collection[str]
) -> dict[str, Any]:
    """Returns what the choice says of the solution: without a prompt that is echoed before it."""
    request = _request(row)
    text, before = _texts(choice)
    found = read_choice(choice, text, ends)
    text, problem = found.text, found.problem
    if found.begins_unknown or request.get("echo"):
        prompt = row.get("prompt", request.get("prompt"))
        before = prompt.strip() if isinstance(prompt, str) else ""
        if before and text.lstrip().startswith(before):
            text = text.lstrip()[len(before) :]
        else:
            problem = "an echoed prompt, and no 'prompt' on the line tells where it ends"
    return {
        "text": text.strip(),
        "steps": found.steps,
        "before": before,
        "stops": _stops(choice, row, request),
        "problem": problem,
    }


def _stops(
    choice: Mapping[str, Any], row: Mapping[str, Any], request: Mapping[str, Any]
) -> tuple[str, ...]:
    """Returns the texts that may stand behind the solution: those asked for, or the one met."""
    given = [row.get("stop"), request.get("stop")]
    given += [choice.get("stop_reason"), choice.get("matched_stop")]
    listed = [one for value in given for one in (value if isinstance(value, list) else [value])]
    return tuple(one for one in listed if isinstance(one, str))


def _error(row: Mapping[str, Any]) -> str | None:
    """Returns what an error in place of an answer says; None where there is none."""
    held = [row, row.get("response")]
    held += [one.get("body") for one in held if isinstance(one, Mapping)]
    for one in held:
        if not isinstance(one, Mapping) or one.get("choices"):
            continue
        error = one if one.get("object") == "error" else one.get("error")
        if error:
            said = error.get("message", error) if isinstance(error, Mapping) else error
            return " ".join(str(said).split())
    return None


def _request(row: Mapping[str, Any]) -> Mapping[str, Any]:
    request = row.get("request")
    body = request.get("body", request) if isinstance(request, Mapping) else row
    return body if isinstance(body, Mapping) else {}


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
    kind = about.get("kind", about.get("rule"))
    return {
        "question": question,
        "answer": None if answer in (None, "") else str(answer),
        "kind": kind if isinstance(kind, str) else None,
        "options": tuple(map(str, options)) if isinstance(options, list) else None,
        "correct": row["correct"] if isinstance(row.get("correct"), bool) else None,
    }


def _last_user_message(row: Mapping[str, Any]) -> Any:
    body = _request(row)
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else ()):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return text_of_content(message.get("content"))
    return body.get("prompt")


def _choices(row: Mapping[str, Any], place: str) -> Sequence[Mapping[str, Any]]:
    answer = row.get("response", row)
    if isinstance(answer, Mapping) and isinstance(answer.get("body"), Mapping):
        answer = answer["body"]
    if isinstance(answer, Mapping):
        if str(answer.get("object")).endswith(".chunk"):
            raise UserError(
                f"{place} is a chunk of a streamed answer ({answer['object']}); join the chunks of "
                "each answer into one, or ask with stream=False"
            )
        choices = answer.get("choices")
        if isinstance(choices, list) and all(isinstance(choice, Mapping) for choice in choices):
            return choices
        if "text" in answer and "num_tokens" in answer:
            return [answer]  # a sample of tlm_jax.infer
    raise UserError(
        f"{place}: no answer of a server: expected 'choices', or 'response' with them, or a sample "
        "of tlm_jax.infer"
    )


def _texts(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the text, and the reasoning before it, where the server parts the two."""
    message = choice.get("message")
    held = message if isinstance(message, Mapping) else choice
    text = held.get("content") if isinstance(message, Mapping) else held.get("text")
    reasoning = held.get("reasoning_content") or held.get("reasoning")
    text = text_of_content(text, without=("thinking", "reasoning"))
    return text or "", reasoning if isinstance(reasoning, str) else ""
