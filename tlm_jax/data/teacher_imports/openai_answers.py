"""Answers of servers with log-probabilities, in JSON Lines.

A line is an answer by itself (`choices`, or as another protocol has it: `answer_forms`), or has one
in `response`, as batch outputs do, or is a sample of `tlm_jax.infer` from a server (`tokens`,
`logprobs`, `candidates`). Question and gold answer stand on the line (`question`, else `prompt` or
the last of the user's `messages`; `answer` or `gold`), or in a file of questions with the same ids.
Several prompts at once (a list) are parted by the choices' `index` (`several_prompts`).
Source: the API reference, chat completions (`logprobs.content[].top_logprobs`, with bytes) and
completions (`logprobs.top_logprobs`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import read_json_lines, read_json_values
from tlm_jax.data.teacher_imports.answer_forms import (
    NoAnswer,
    choices_of,
    is_chunk,
    last_question,
)
from tlm_jax.data.teacher_imports.captured import Captured
from tlm_jax.data.teacher_imports.echoed_prompts import begins_with, is_echoed, prompt_of
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.data.teacher_imports.openai_logprobs import read_choice
from tlm_jax.data.teacher_imports.several_prompts import prompt_of_each, prompts_at_once
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

    What is odd in one answer (an error in its place, a chunk of a stream, log-probabilities that
    are none) is told in `Captured.problem`, and costs no other.

    Args:
      path: the JSON Lines file.
      questions: where the lines do not say what was asked.
      ends: names of tokens that end a text, beside those that are known.

    Raises:
      UserError: the question of an answer is not to be found.
    """
    streamed: set[str] = set()
    for place, row in _rows(path):
        answer = _answer(row)
        own = answer[0].get("id") if isinstance(answer, list) and answer else None
        number = place.rpartition(":")[2]
        named = (row.get("custom_id"), row.get("id"), row.get("key"), own)
        identifier = next((str(n) for n in named if n is not None), f"{path.stem}-{number}")
        if (error := _error(row)) is not None:
            problem = f"an error in place of an answer: {printable(error)[:80]}"
            yield Captured(identifier, place, "", "", None, problem=problem)
            continue
        try:
            if is_chunk(answer):
                streamed.add(identifier)
            elif identifier in streamed:  # the last one of a stream has an end
                answer = {"object": ".chunk", "choices": []}
            choices = choices_of(answer)
            each = _prompt_of_each(row, choices, questions)
        except NoAnswer as reason:
            yield Captured(identifier, place, "", "", None, problem=str(reason))
            continue
        question_fields = {} if each else _question_fields(row, identifier, questions, place)
        first = row.get("sample", 0)
        if not isinstance(first, int):
            raise UserError(f"{place}: sample is {str(first)[:40]!r}, expected a whole number")
        for index, choice in enumerate(choices):
            alone = len(choices) == 1 and "sample" not in row
            about, question_id = row, identifier
            if each:
                about = {**row, "prompt": each[index]}
                question_fields = _question_fields(about, identifier, None, place)
                question_id = f"{identifier}/{each.index(each[index])}"
            yield Captured(
                id=identifier if alone else f"{identifier}/{first + index}",
                place=place,
                question_id=question_id,
                finished=choice.get("finish_reason") not in CUT_OFF,
                **_solution(choice, about, ends, num_choices=len(choices)),
                **question_fields,
            )


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields what each line holds, with its place: a list is one streamed answer, or answers."""
    for number, value in read_json_values(path):
        place = f"{path}:{number}"
        if isinstance(value, dict):
            yield place, value
        elif isinstance(value, list) and not any(is_chunk(one) for one in value):
            for one in value:
                yield place, one if isinstance(one, dict) else {"response": one}
        else:
            yield place, {"response": value}


def _prompt_of_each(
    row: Mapping[str, Any], choices: Sequence[Mapping[str, Any]], questions: Questions | None
) -> Sequence[str]:
    """Returns each choice's prompt where a request asked several; else nothing."""
    request = _request(row)
    prompts = prompts_at_once(row, request)
    if prompts is None:
        return ()
    if questions is not None:
        raise NoAnswer("several prompts at once, which --questions tells one question of")
    return prompt_of_each(prompts, choices, row, request)


def _solution(
    choice: Mapping[str, Any], row: Mapping[str, Any], ends: Collection[str], *, num_choices: int
) -> dict[str, Any]:
    """Returns what the choice says of the solution: without a prompt that is echoed before it."""
    request = _request(row)
    text, before = _texts(choice)
    found = read_choice(choice, text, ends)
    text, problem, prompt = found.text, found.problem, prompt_of(row, request)
    num_tokens = _num_written(row) if num_choices == 1 else None
    if is_echoed(choice, (row, request), found, prompt, num_tokens):
        before = prompt
        if begins_with(text, prompt):
            text = text.lstrip()[len(prompt) :]
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
            message = error.get("message", error) if isinstance(error, Mapping) else error
            return " ".join(str(message).split())
    return None


def _request(row: Mapping[str, Any]) -> Mapping[str, Any]:
    request = row.get("request")
    body = request.get("body", request) if isinstance(request, Mapping) else row
    return body if isinstance(body, Mapping) else {}


def _question_fields(
    row: Mapping[str, Any], identifier: str, questions: Questions | None, place: str
) -> dict[str, Any]:
    about = row
    if questions is not None:
        if identifier not in questions:
            raise UserError(f"{place}: the file of questions has no id {identifier!r}")
        about = questions[identifier]
    prompt = about.get("prompt") or last_question(_request(row))
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    question = about.get("question") or prompt
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


def _answer(row: Mapping[str, Any]) -> Any:
    """Returns the answer on a line: `response`, its `body`, or the line itself."""
    answer = row.get("response", row)
    if isinstance(answer, Mapping) and isinstance(answer.get("body"), Mapping | list):
        return answer["body"]
    return answer


def _num_written(row: Mapping[str, Any]) -> int | None:
    """Returns how many tokens the server says that it wrote."""
    answer = _answer(row)
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    number = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    return number if type(number) is int and number > 0 else None


def _texts(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the text, and the reasoning before it, where the server parts the two."""
    message = choice.get("message")
    held = message if isinstance(message, Mapping) else choice
    text = held.get("content") if isinstance(message, Mapping) else held.get("text")
    reasoning = held.get("reasoning_content") or held.get("reasoning")
    text = text_of_content(text, without=("thinking", "reasoning"))
    return text or "", reasoning if isinstance(reasoning, str) else ""
