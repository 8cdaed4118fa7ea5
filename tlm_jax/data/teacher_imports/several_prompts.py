"""Requests that ask several prompts at once, as completions may (`prompt` is a list).

The server answers each prompt with `n` choices, numbered through all of them: choice i is of prompt
i // n. Source: the API reference of completions, and of vLLM's server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.data.teacher_imports.answer_forms import NoAnswer

Fields = Mapping[str, Any]


def prompts_at_once(row: Fields, request: Fields) -> Sequence[Any] | None:
    """Returns the prompts of a request that has several; None where it has one, or none."""
    prompt = row.get("prompt", request.get("prompt"))
    several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
    return prompt if several else None


def prompt_of_each(
    prompts: Sequence[Any], choices: Sequence[Fields], row: Fields, request: Fields
) -> Sequence[str]:
    """Returns the prompt of each choice.

    Args:
      prompts: of the request.
      choices: in order of their `index`.
      row: the line, which may say more of all choices.
      request: with `n`, where it stands there.

    Raises:
      NoAnswer: the line does not tell which choice is of which prompt, or speaks of one question.
    """
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise NoAnswer("several prompts at once, not all of them text")
    if any(row.get(name) is not None for name in _OF_ONE_QUESTION):
        raise NoAnswer(
            "several prompts at once, and one question or answer for all: write a line for each"
        )
    numbers = [choice.get("index") for choice in choices]
    each, rest = divmod(len(choices), len(prompts))
    requested = request.get("n")
    if (
        rest
        or numbers != list(range(len(choices)))
        or (requested is not None and requested != each)
    ):
        raise NoAnswer("several prompts at once, and choices that their indices do not allot")
    return [prompts[index // each] for index in range(len(choices))]


_OF_ONE_QUESTION = ("question", "answer", "gold", "options", "correct")
