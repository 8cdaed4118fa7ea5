"""The prompts of an inference run, from a JSON Lines file or a task, with what grading needs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.pipeline.store import Reader, open_readers
from tlm_jax.data.reading import Reading
from tlm_jax.data.records import check_characters
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example, option_texts
from tlm_jax.data.text_lines import numbered_lines
from tlm_jax.errors import UserError, nearest
from tlm_jax.evaluation.rules.registry import RULES
from tlm_jax.messages import text_of_content
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.system.home import expanded
from tlm_jax.vocabularies import Vocabulary

Messages = Sequence[Mapping[str, str]]

_FIELDS = ("id", "prompt", "messages", "question", "answer", "kind", "options")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt; of `text` and `messages` one is set.

    Attributes:
      id: unique among the run's prompts.
      place: where it stands, for error messages.
      text: to be continued.
      messages: to be answered.
      token_ids: of `text`, as the model reads its task; None where a file gave the text.
      as_read: the text of `token_ids`, special tokens apart; None where it is `text`.
      gold: the right answer; None where there is none.
      kind: of answer: the rule by which it is graded.
      options: texts of the options of a choice.
      question: what is asked, without the wording around it, by which caches of teachers know it;
        None where only the prompt is known.
    """

    id: str
    place: str
    text: str | None = None
    messages: Messages | None = None
    token_ids: Integer[np.ndarray, "n"] | None = None
    as_read: str | None = None
    gold: str | None = None
    kind: str = "numeric"
    options: tuple[str, ...] | None = None
    question: str | None = None


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
        every = list(_from_file(expanded(config.file)))
        indices = chosen(len(every), config.num_examples, config.examples_seed)
        prompts = [every[i] for i in indices]
    else:
        prompts = list(_from_task(config, vocabulary, reading))
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
    return [_asked(prompt, config) for prompt in prompts]


def _asked(prompt: Prompt, config: PromptsConfig) -> Prompt:
    """Returns the prompt as a conversation, where that is wanted."""
    if not config.chat and prompt.messages is None:
        if config.system is not None:
            raise UserError(f"SYSTEM is set, but {prompt.place} is plain text; set CHAT to True")
        return prompt
    messages = list(prompt.messages or [{"role": "user", "content": prompt.text or ""}])
    if config.system is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": config.system})
    return dataclasses.replace(
        prompt, text=None, as_read=None, token_ids=None, messages=tuple(messages)
    )


def _check_not_empty(prompt: Prompt) -> None:
    if prompt.messages is not None:
        empty = not prompt.messages or not prompt.messages[-1]["content"].strip()
    else:
        empty = not (prompt.text or "").strip()
    if empty:
        raise UserError(
            f"{prompt.place}: the prompt {prompt.id!r} is empty; give it text or leave it out"
        )


def _from_task(
    config: PromptsConfig, vocabulary: Vocabulary | None, reading: Reading | None
) -> Iterator[Prompt]:
    from tlm_jax.data import tasks

    tasks.load_tasks(config.modules)
    assert config.mixture_or_task_name is not None
    # Only SeqIO's own tasks are cut to these; what is too long is told or cut later, by us.
    lengths = {"inputs": 1 << 20, "targets": 1 << 20}
    _, readers = open_readers(
        config.mixture_or_task_name,
        config.split,
        feature_lengths=lengths,
        vocabulary=vocabulary,
        data=RunData(config.data_dir, demonstrations=config.demonstrations),
        reading=reading,
    )
    for name, reader in readers.items():
        yield from _of_reader(name, reader, config, several=len(readers) > 1)


def _of_reader(
    name: str, reader: Reader, config: PromptsConfig, *, several: bool
) -> Iterator[Prompt]:
    if reader.num_examples is None and config.num_examples is None:
        raise UserError(f"split {config.split!r} of {name!r} has no end: set NUM_EXAMPLES")
    indices = chosen(reader.num_examples, config.num_examples, config.examples_seed)
    examples = reader.read(indices)
    if "inputs" not in examples.features:
        raise UserError(f"task {name!r} has no inputs to ask; expected a task with prompts")
    tokens = examples.features["inputs"]
    parts = np.split(tokens.values, np.cumsum(tokens.lengths)[:-1]) if len(tokens) else []
    found = zip(indices.tolist(), examples.ids, examples.records, parts)
    for index, example_id, record, token_ids in found:
        own = example_id or str(index)
        yield Prompt(
            id=f"{name}/{own}" if several else own,
            place=f"task {name!r}, split {config.split!r}, example {index}",
            text=_inputs(record, reader.vocabulary),
            token_ids=token_ids,
            options=option_texts(record) or None,
            as_read=reader.prompt_text(record),
            question=str(record["question"]) if "question" in record else None,
            **_gold_of(record),
        )


def _inputs(record: Example, vocabulary: Vocabulary) -> str:
    inputs = record["inputs"]
    return inputs if isinstance(inputs, str) else vocabulary.decode(inputs.tolist())


def _gold_of(record: Example) -> dict[str, Any]:
    gold = str(record["answer"]) if "answer" in record and "kind" in record else ""
    if not gold:
        return {}
    return {"gold": gold, "kind": str(record["kind"])}


def _from_file(path: Path) -> Iterator[Prompt]:
    number = 0
    try:
        for number, line in numbered_lines(path):
            yield _from_line(line, f"{path}, line {number}", str(number))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        where = f"{path}, after line {number}" if number else str(path)
        raise UserError(f"{where}: prompts cannot be read: {error}") from error


def _from_line(line: str, place: str, default_id: str) -> Prompt:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f'{place}: expected an object such as {{"id": "1", "prompt": "..."}}')
    check_characters(fields, place)
    text, messages = fields.get("prompt"), fields.get("messages")
    if (text is None) == (messages is None):
        if text is not None:
            raise UserError(f"{place} has both 'prompt' and 'messages'; expected one of them")
        hint = "".join(
            f" Did you mean {known!r} by {name!r}?"
            for name in fields
            for known in _FIELDS[1:3]
            if name not in _FIELDS and known in nearest(name, _FIELDS)
        )
        raise UserError(f"{place} has neither 'prompt' nor 'messages'.{hint}")
    if text is not None and not isinstance(text, str):
        raise UserError(f"{place}: 'prompt' is {type(text).__name__}, expected text")
    question = fields.get("question")
    if question is not None and not isinstance(question, str):
        raise UserError(f"{place}: 'question' is {type(question).__name__}, expected text")
    options = fields.get("options")
    if options is not None and not _all_text(options):
        raise UserError(f"{place}: 'options' is expected to be a list of texts")
    return Prompt(
        id=str(fields.get("id", default_id)),
        place=place,
        text=text,
        messages=None if messages is None else _messages(messages, place),
        options=None if options is None else tuple(options),
        question=question,
        **_gold_in(fields, place),
    )


def _gold_in(fields: Mapping[str, Any], place: str) -> dict[str, Any]:
    if fields.get("answer") in (None, ""):
        return {}
    kind = fields.get("kind", "numeric")
    if kind not in RULES:
        raise UserError(
            f"{place}: 'kind' of the answer is {kind!r}, expected one of {', '.join(RULES)}."
            + nearest(str(kind), RULES)
        )
    return {"gold": str(fields["answer"]), "kind": kind}


def _messages(messages: Any, place: str) -> Messages:
    right = isinstance(messages, list) and all(
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and text_of_content(message.get("content")) is not None
        for message in messages
    )
    if not right:
        raise UserError(
            f"{place}: 'messages' is expected to be a list of objects with 'role' and 'content', "
            "both text (or, as content, a list of parts of type 'text')"
        )
    return tuple(
        {"role": m["role"], "content": text_of_content(m["content"]) or ""} for m in messages
    )


def _all_text(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
