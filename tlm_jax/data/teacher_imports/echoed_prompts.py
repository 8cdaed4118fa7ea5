"""Prompts that a server wrote before its answer (`echo`): tokens that no teacher chose.

Some servers give their first token no log-probability (vLLM, OpenAI), others a number; some
captures keep the request that asked for it, others do not. Where nothing says it, the text of a
completion that begins with all of its prompt is taken for an echo: a solution without a repeated
question is still one, and a question is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.data.teacher_imports.openai_logprobs import Solution

Fields = Mapping[str, Any]


def is_echoed(
    choice: Fields, held: tuple[Fields, ...], found: Solution, prompt: str, num_tokens: int | None
) -> bool:
    """Whether the choice begins with the prompt, not with what the teacher wrote.

    Args:
      choice: of an answer.
      held: what may say so beside it: the line, the request.
      found: what the choice says.
      prompt: as far as it is known.
      num_tokens: how many the server says that it wrote, where it says so.
    """
    echo_flags = [bool(one["echo"]) for one in (choice, *held) if one.get("echo") is not None]
    if any(echo_flags) or found.begins_unknown:
        return True
    if "message" in choice or "num_tokens" in choice:
        return False  # neither chat completions nor samples of tlm_jax.infer hold prompts
    begins = begins_with(found.text, prompt)
    if num_tokens is not None and found.steps is not None:
        # The token that ends a text is not counted by all.
        return len(found.steps) > num_tokens + (0 if begins else 1)
    return begins and not echo_flags


def begins_with(text: str, prompt: str) -> bool:
    """Whether a text begins with a prompt, whatever white space is around it."""
    return bool(prompt) and text.lstrip().startswith(prompt)


def prompt_of(row: Fields, request: Fields) -> str:
    """Returns the prompt without white space around it; "" where the line tells no single one."""
    prompt = row.get("prompt", request.get("prompt"))
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return prompt.strip() if isinstance(prompt, str) else ""
