"""Formats of rank classification: what is read before the options, and how each one is written."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from tlm_jax.data.formats import ANSWER_MARKER, inline_options
from tlm_jax.data.records import LETTERS
from tlm_jax.data.sources import Example
from tlm_jax.errors import UserError, nearest


@dataclass(frozen=True)
class Option:
    """One possible answer.

    Attributes:
      answer: as records write it: "B", "yes", "(B)".
      written: as targets write it: "(B)", "yes", "(B)".
      text: what it says.
      letter: its letter; None where it has none.
    """

    answer: str
    written: str
    text: str
    letter: str | None = None


@dataclass(frozen=True)
class RankFormat:
    """Templates of the context and of what follows it.

    Attributes:
      context: with the fields {question}, {sentence} (the question on one line, ended by a full
        stop where it ends in none of `. , ? ! "`), {options} (`(A) x (B) y`; empty where the
        question lists them itself), {subject} (of the question, or its sub-task, with spaces) and
        {inputs}, the task's own prompt. None means the task's own prompt as it is tokenized for
        training, with its end token.
      continuation: with the fields {answer}, as targets write it, {text} and {letter}. None means
        "The answer is {answer}", and only questions are asked whose targets are just that.
    """

    context: str | None = None
    continuation: str | None = None

    def asks(self, record: Example, options: Sequence[Option]) -> bool:
        """Whether the question can be asked: it has two options, and targets as expected."""
        if self.continuation is not None or len(options) < 2:
            return len(options) > 1
        right = right_option(record, options)
        written = {str(record.get("answer", "")), *([options[right].written] if right >= 0 else [])}
        return record.get("targets") in {f"{ANSWER_MARKER}{text}" for text in written}

    def context_of(self, record: Example, options: Sequence[Option]) -> str:
        """Returns the text before the options.

        Raises:
          UserError: it needs a subject that the question has not.
        """
        template = "{inputs}" if self.context is None else self.context
        listed = _listed(record, options)
        if not listed:
            template = template.replace(" {options}", "")
        fields = {
            "inputs": str(record.get("inputs", "")),
            "question": _question(record),
            "sentence": _sentence(_question(record)),
            "options": listed,
        }
        if "{subject}" in template:
            fields["subject"] = _subject(record)
        return template.format_map(fields)

    def continuation_of(self, option: Option, record: Example) -> str:
        """Returns the text of an option.

        Raises:
          UserError: it needs a letter that the option has not.
        """
        template = f"{ANSWER_MARKER}{{answer}}" if self.continuation is None else self.continuation
        if "{letter}" in template and option.letter is None:
            raise UserError(
                f"question {str(record['id'])!r}: the option {option.answer!r} has no letter; set "
                "RANK_CONTINUATION to a template with {answer} or {text}"
            )
        return template.format(answer=option.written, text=option.text, letter=option.letter)


RANK_FORMATS = {
    "task": RankFormat(),
    "teacherlm": RankFormat("Q: {question} {options} A: The answer is (", "{letter}"),
    # Its code puts a second "Q: " before ECQA's questions, which begin with one in its files.
    "teacherlm_doubled": RankFormat("Q: Q: {question} {options} A: The answer is (", "{letter}"),
    # Of tasks whose prompts end where the letter stands, such as DATA_SET_teacherlm_rank.
    "letter": RankFormat("{inputs}", "{letter}"),
    "teacherlm_mmlu": RankFormat(
        "The following are multiple choice questions (with answers) about {subject}. "
        "Q: {sentence} {options} A: The answer is (",
        "{letter}",
    ),
}
"""By the names of RANK_FORMAT; TeacherLM's are those of its evaluation code (`lm_eval`)."""


def rank_format(name: str, context: str | None, continuation: str | None) -> RankFormat:
    """Returns a format by name, with other templates where they are given.

    Raises:
      UserError: no such format, or a template with a field that there is not.
    """
    if name not in RANK_FORMATS:
        known = ", ".join(RANK_FORMATS)
        raise UserError(f"no RANK_FORMAT {name!r}.{nearest(name, RANK_FORMATS)} Known: {known}.")
    _check_fields("RANK_CONTEXT", context, _CONTEXT_FIELDS)
    _check_fields("RANK_CONTINUATION", continuation, _OPTION_FIELDS)
    found = RANK_FORMATS[name]
    return RankFormat(
        found.context if context is None else context,
        found.continuation if continuation is None else continuation,
    )


def options_of(record: Example) -> list[Option]:
    """Returns the possible answers of a question; none where it has no list of them.

    choice   options x, y          A (x), B (y), written (A), (B)
    boolean                        yes, no
    text     options (A) x, (B) y  (A), (B)          as in BIG-Bench Hard
             options Yes, No       Yes, No
    """
    kind = record.get("kind")
    texts = json.loads(str(record.get("options_json", "null"))) or ()
    if kind == "choice":
        return [Option(x, f"({x})", text, x) for x, text in zip(LETTERS, texts)]
    if kind == "boolean":
        return [Option(x, x, x, letter) for x, letter in (("yes", "A"), ("no", "B"))]
    if kind != "text":
        return []
    return [_listed_option(text) for text in texts]


def right_option(record: Example, options: Sequence[Option]) -> int:
    """Returns the place of the right option; -1 where the gold answer is none of them.

    A gold answer may be an option's text instead of its letter. Three of BIG-Bench Hard are
    neither: their list of options was divided at the commas within an option.
    """
    gold = str(record.get("answer", "")).strip()
    for name in ("answer", "text"):
        for place, option in enumerate(options):
            if getattr(option, name) == gold:
                return place
    return -1


_CONTEXT_FIELDS = ("question", "sentence", "options", "subject", "inputs")
_OPTION_FIELDS = ("answer", "text", "letter")
_LETTERED = re.compile(r"\(([A-Z])\)\s*(.*)", re.DOTALL)


def _check_fields(setting: str, template: str | None, known: Sequence[str]) -> None:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template or "")]
    except ValueError as error:
        raise UserError(
            f"{setting} {template!r} is no template ({error}); write a brace that is text twice"
        ) from None
    for name in names:
        if name is not None and name not in known:
            raise UserError(
                f"{setting} has no field {{{name}}}.{nearest(name, known)} Fields: "
                f"{', '.join(known)}. Write a brace that is text twice."
            )


def _listed_option(text: str) -> Option:
    lettered = _LETTERED.fullmatch(text)
    if lettered is None:
        return Option(text, text, text)
    letter, value = lettered.groups()
    return Option(f"({letter})", f"({letter})", value.strip(), letter)


def _listed(record: Example, options: Sequence[Option]) -> str:
    # Of kind text they stand in the question.
    return "" if record.get("kind") == "text" else inline_options([o.text for o in options])


def _question(record: Example) -> str:
    return str(record.get("question", ""))


def _sentence(question: str) -> str:
    line = question.replace("\n", " ")
    return line if line.endswith((".", ",", "?", "!", '"')) else f"{line}."


def _subject(record: Example) -> str:
    traits = json.loads(str(record.get("traits_json", "{}")))
    subject = traits.get("subject") or traits.get("task")
    if subject is None:
        raise UserError(
            f"question {str(record['id'])!r} has no subject, which the rank format asks for; "
            "choose another RANK_FORMAT, or a RANK_CONTEXT without {subject}"
        )
    return str(subject).replace("_", " ")
