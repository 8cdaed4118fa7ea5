"""The solutions of a scoring run, from a JSON Lines file or a task, with what the teacher reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tlm_jax.data.formats import FORMATS, inline_options
from tlm_jax.data.reading import Reading
from tlm_jax.data.records import from_dict, read_json_lines
from tlm_jax.data.teacher_imports.examples import CUT_OFF, Solution
from tlm_jax.errors import UserError
from tlm_jax.evaluation import fields
from tlm_jax.evaluation.grading import grade
from tlm_jax.runs.cache_teacher.config import SolutionsConfig, TeacherPromptConfig
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompt import (
    Prompt,
    Tokens,
    as_conversation,
    checked_kind,
    prompt_of_row,
)
from tlm_jax.runs.inference.prompts import load_prompts
from tlm_jax.runs.inference.task_prompts import task_examples
from tlm_jax.system.home import expanded
from tlm_jax.teacher_cache.steps import solution_key
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Scored:
    """A solution to be scored.

    Attributes:
      key: `solution_key` of the question, else the inputs, its options and the solution.
      prompt: what the teacher reads.
      solution: what it would have to write.
      target_ids: tokens of the text, where the task gives them, EOS included if it has one.
      finished: whether it ends by itself, so that EOS is what comes next.
      correct: whether it is right; None where nothing tells.
      becomes_record: whether an example is to be written for it; a task has its own.
    """

    key: str
    prompt: Prompt
    solution: Solution
    target_ids: Tokens | None = None
    finished: bool = True
    correct: bool | None = None
    becomes_record: bool = True


def load_solutions(
    config: SolutionsConfig,
    prompts: TeacherPromptConfig,
    vocabulary: Vocabulary,
    reading: Reading,
) -> list[Scored]:
    """Reads everything that may be scored, the same on every host, in the order of its source.

    Args:
      config: where it is.
      prompts: what the teacher is to read.
      vocabulary: the teacher's.
      reading: how it reads a task's prompts.

    Raises:
      UserError: a line or an example does not say what is needed.
    """
    if config.file is None:
        found = _of_task(config, vocabulary, reading)
    else:
        prompts_by_id = None
        if config.mixture_or_task_name is not None:
            prompts_by_id = _prompts_by_id(config, vocabulary, reading)
        found = _of_file(config, prompts_by_id)
    template = _Template(prompts)
    return [template.applied(one) for one in found]


class _Template:
    """Writes the teacher's prompt."""

    def __init__(self, config: TeacherPromptConfig):
        self._config = config

    def applied(self, one: Scored) -> Scored:
        prompt, config = one.prompt, self._config
        if config.template is not None:
            text = self._filled(one)
            prompt = dataclasses.replace(
                prompt, text=text, as_read=None, messages=None, token_ids=None
            )
        if prompt.text is None and prompt.messages is None:
            raise UserError(
                f"{prompt.place} has a question and no prompt: set PROMPT, for example "
                "\"PROMPT='Q: {question}\\nA:\\n'\", or CHAT=True with "
                "PROMPT='{question}'"
            )
        if config.chat:
            prompt = as_conversation(prompt, config.system)
        return dataclasses.replace(one, prompt=prompt)

    def _filled(self, one: Scored) -> str:
        question, options = one.solution.question, one.solution.options
        if options and one.solution.kind != "text":  # such a question lists them itself
            question += f" {inline_options(options)}"
        known = {"question": question, "inputs": one.prompt.text or ""}
        assert self._config.template is not None
        try:
            return self._config.template.format_map(known)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise UserError(
                f"PROMPT is {self._config.template!r}: {error} is none of its fields; expected "
                "{question} or {inputs}, and {{ or }} for a brace"
            ) from None


def _of_task(config: SolutionsConfig, vocabulary: Vocabulary, reading: Reading) -> Iterator[Scored]:
    for some in task_examples(_prompts_config(config, examples_seed=None), vocabulary, reading):
        if not {"inputs", "targets"} <= set(some.examples.features):
            raise UserError(
                f"task {some.task!r} has {', '.join(some.examples.features)} only: a teacher is "
                "asked for targets behind inputs, so give it inputs, or score a file (SOLUTIONS)"
            )
        found = zip(some.prompts(), some.examples.records, some.tokens("targets"))
        for prompt, record, target_ids in found:
            text = some.text(record, "targets")
            question, options = prompt.question or prompt.text or "", prompt.options or ()
            kind = str(record["kind"]) if "kind" in record else None
            yield Scored(
                key=solution_key(question, options, text),
                prompt=prompt,
                solution=Solution(
                    prompt.id, question, text, kind=kind, options=options, place=prompt.place
                ),
                target_ids=target_ids,
                becomes_record=False,
            )


def _of_file(
    config: SolutionsConfig, prompts_by_id: Mapping[str, Prompt] | None
) -> Iterator[Scored]:
    assert config.file is not None
    path = expanded(config.file)
    for count, (number, row) in enumerate(read_json_lines(path)):
        # Of a task's questions there may be several solutions: there it counts these.
        if (
            prompts_by_id is None
            and config.num_examples is not None
            and count >= config.num_examples
        ):
            return
        yield from _of_row(row, number, f"{path}:{number}", config, prompts_by_id)


def _of_row(
    row: Mapping[str, Any],
    number: int,
    place: str,
    config: SolutionsConfig,
    prompts_by_id: Mapping[str, Prompt] | None,
) -> Iterator[Scored]:
    question_id = str(row.get("id", number))
    prompt = (
        _prompt(row, question_id, place, config)
        if prompts_by_id is None
        else prompts_by_id.get(question_id)
    )
    if prompt is None:
        raise UserError(
            f"{place}: task {config.mixture_or_task_name!r} has no example {question_id!r} in "
            f"split {config.split!r}; is SPLIT (or NUM_EXAMPLES) the one that was sampled?"
        )
    texts = list(_texts(row, place, config))
    for index, (where, text) in enumerate(texts):
        several = str(row["sample"]) if "sample" in row else str(index) if len(texts) > 1 else ""
        question = prompt.question or prompt.text
        assert question is not None
        solution = Solution(
            id=f"{question_id}/{several}" if several else question_id,
            question=question,
            text=text.strip(),
            answer=prompt.gold,
            kind=prompt.kind if prompt.gold is not None else None,
            options=prompt.options,
            question_id=question_id,
            place=place,
        )
        yield Scored(
            key=solution_key(question, solution.options, solution.text),
            prompt=prompt,
            solution=solution,
            finished=_is_finished(row),
            correct=_is_correct(row, where, solution, place, config),
        )


def _prompt(row: Mapping[str, Any], identifier: str, place: str, config: SolutionsConfig) -> Prompt:
    """Returns what was asked, by the names of samples, records and graded files alike."""
    question = row.get("question")
    if config.question_field is not None:
        question = fields.value_at(row, config.question_field, (), place)
    text = row.get("prompt", row.get("inputs")) or None
    row_fields = {
        "prompt": text,
        "messages": (row.get("messages") or None) if text is None else None,
        "question": question or None,
        "options": row.get("options"),
        "answer": row.get("answer", row.get("gold")),
        "kind": row.get("kind", row.get("rule", "numeric")),
    }
    checked_kind(row_fields, place)
    prompt = prompt_of_row(row_fields, place, identifier)
    if prompt.question is None and prompt.text is None:
        if not prompt.messages:
            raise UserError(
                f"{place} does not say what was asked: expected 'question', 'prompt' or "
                "'messages', or QUESTION_FIELD to name another field"
            )
        return dataclasses.replace(prompt, question=prompt.messages[-1]["content"])
    return prompt


def _texts(
    row: Mapping[str, Any], place: str, config: SolutionsConfig
) -> Iterator[tuple[fields.Place, str]]:
    if config.solution_field is not None:
        for where, value in fields.values(row, config.solution_field, place):
            if not isinstance(value, str):
                raise UserError(f"{place}: {config.solution_field} is no text")
            yield where, value
        return
    for name in ("solution", "text", "targets"):
        if isinstance(row.get(name), str):
            yield (), row[name]
            return
    if not row.get("rationale"):
        raise UserError(
            f"{place} has no solution: expected 'solution', 'text', 'targets' or 'rationale', or "
            "SOLUTION_FIELD to name another field"
        )
    yield (), FORMATS["cot_zero_shot"].targets(from_dict(row, place))


def _is_finished(row: Mapping[str, Any]) -> bool:
    """Whether a sample ended by itself: neither cut off nor, of a local model, at a stop text.

    Servers call an end token "stop", too.
    """
    reason = str(row.get("finish_reason"))
    return reason not in CUT_OFF and not (reason == "stop" and "token_ids" in row)


def _is_correct(
    row: Mapping[str, Any],
    where: fields.Place,
    solution: Solution,
    place: str,
    config: SolutionsConfig,
) -> bool | None:
    if config.correct_field is not None:
        return bool(fields.value_at(row, config.correct_field, where, place))
    if isinstance(row.get("correct"), bool) and config.grading_rule is None:
        return row["correct"]
    if solution.answer is None or not config.only_correct:
        return None
    rule = config.grading_rule or solution.kind or "numeric"
    return grade(rule, solution.text, solution.answer, solution.options).correct


def _prompts_by_id(
    config: SolutionsConfig, vocabulary: Vocabulary, reading: Reading
) -> Mapping[str, Prompt]:
    # The sample of questions that `tlm_jax.infer` asks.
    loaded = load_prompts(_prompts_config(config), vocabulary, reading)
    return {prompt.id: prompt for prompt in loaded}


def _prompts_config(config: SolutionsConfig, **chosen: Any) -> PromptsConfig:
    """Returns the questions of the task as a configuration of prompts."""
    return PromptsConfig(
        mixture_or_task_name=config.mixture_or_task_name,
        split=config.split,
        num_examples=config.num_examples,
        data_dir=config.data_dir,
        modules=config.modules,
        demonstrations=config.demonstrations,
        **chosen,
    )
