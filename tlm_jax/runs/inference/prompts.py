"""The prompts of an inference run, from a JSON Lines file or a task, with what grading needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.reading import Reading
from tlm_jax.data.records import read_json_lines
from tlm_jax.errors import UserError, nearest
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompt import Prompt, as_conversation, prompt_of_row
from tlm_jax.runs.inference.task_prompts import task_examples
from tlm_jax.system.home import expanded
from tlm_jax.vocabularies import Vocabulary

_FIELDS = ("id", "prompt", "messages", "question", "answer", "kind", "options")


def load_prompts(
    config: PromptsConfig, vocabulary: Vocabulary | None, reading: Reading | None = None
) -> list[Prompt]:
    """Reads all prompts, the same on every host.

    Args:
      config: where they are.
      vocabulary: of a local model; None for a server's, which has its own.
      reading: how a local model reads a task's prompts.

    Raises:
      UserError: the file or task cannot be read; a prompt is empty; two have the same id.
    """
    if config.file is not None:
        path = expanded(config.file)
        every = [_of_row(row, f"{path}:{n}", str(n)) for n, row in read_json_lines(path)]
        indices = chosen(len(every), config.num_examples, config.examples_seed)
        prompts = [every[i] for i in indices]
    else:
        prompts = list(_of_task(config, vocabulary, reading))
    seen: dict[str, str] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise UserError(
                f"{prompt.place}: the id {prompt.id!r} is taken by {seen[prompt.id]}; samples are "
                "told apart by id, so each prompt needs its own"
            )
        seen[prompt.id] = prompt.place
        _check_not_empty(prompt)
    if not prompts:
        raise UserError(f"{config.file or config.mixture_or_task_name} holds no prompts")
    return [_with_conversation(prompt, config) for prompt in prompts]


def _with_conversation(prompt: Prompt, config: PromptsConfig) -> Prompt:
    """Returns the prompt as a conversation, where that is wanted."""
    if not config.chat and prompt.messages is None:
        for name in ("system", "chat_template"):
            if getattr(config, name) is not None:
                raise UserError(
                    f"{name.upper()} is set, but {prompt.place} is plain text; set CHAT to True"
                )
        return prompt
    return as_conversation(prompt, config.system)


def _check_not_empty(prompt: Prompt) -> None:
    if prompt.messages is not None:
        empty = not prompt.messages or not prompt.messages[-1]["content"].strip()
    else:
        empty = not (prompt.text or "").strip()
    if empty:
        raise UserError(
            f"{prompt.place}: the prompt {prompt.id!r} is empty; give it text or leave it out"
        )


def _of_task(
    config: PromptsConfig, vocabulary: Vocabulary | None, reading: Reading | None
) -> Iterator[Prompt]:
    every = task_examples(config, vocabulary, reading)
    for some in every:
        if "inputs" not in some.examples.features:
            raise UserError(
                f"task {some.task!r} has no inputs to ask; expected a task with prompts"
            )
        for prompt in some.prompts():
            own = f"{some.task}/{prompt.id}" if len(every) > 1 else prompt.id
            yield dataclasses.replace(prompt, id=own)


def _of_row(row: Mapping[str, Any], place: str, default_id: str) -> Prompt:
    text, messages = row.get("prompt"), row.get("messages")
    if text is not None and messages is not None:
        raise UserError(f"{place} has both 'prompt' and 'messages'; expected one of them")
    if text is None and messages is None:
        hint = "".join(
            f" Did you mean {known!r} by {name!r}?"
            for name in row
            for known in _FIELDS[1:3]
            if name not in _FIELDS and known in nearest(name, _FIELDS)
        )
        raise UserError(f"{place} has neither 'prompt' nor 'messages'.{hint}")
    return prompt_of_row(row, place, default_id)
