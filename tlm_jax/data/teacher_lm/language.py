"""The fixed words of TeacherLM's texts as values: English as published, and Chinese."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from types import MappingProxyType

from tlm_jax.errors import UserError

FIELDS = ("cot", "error", "fundamental")
"""What a teacher writes: its reasoning, the common mistakes, the fundamentals."""


@dataclasses.dataclass(frozen=True)
class Language:
    """The fixed words of a text, which is `{question} ... {options} {answer} {final}`.

    Attributes:
      question: before the question.
      answer: behind the options.
      final: the answer sentence, with the field {answer}.
      letter: a letter as the answer sentence has it, with the field {letter}.
      option: an option, with the fields {letter} and {text}; a space divides options.
      truth: the options of a question whose answer is yes or no, yes first.
      markers: the sentence before each of `FIELDS`.
      subject: before the whole text where subjects are added, with the field {subject}.
    """

    question: str
    answer: str
    final: str
    letter: str
    option: str
    truth: tuple[str, str]
    markers: Mapping[str, str]
    subject: str

    def __post_init__(self) -> None:
        for name, wanted in _TEMPLATES.items():
            _check_template(name, getattr(self, name), wanted)
        if set(self.markers) != set(FIELDS):
            raise UserError(
                f"Language.markers has {', '.join(self.markers) or 'nothing'}, expected a sentence "
                f"for each of {', '.join(FIELDS)}"
            )
        if len(set(self.markers.values())) < len(FIELDS) or not all(self.markers.values()):
            raise UserError("Language.markers must be different sentences, none of them empty")


def language_by_name(name: str) -> Language:
    """Returns a set of fixed words.

    Raises:
      UserError: there is none of that name.
    """
    if name not in LANGUAGES:
        raise UserError(f"no language {name!r}: expected one of {', '.join(LANGUAGES)}")
    return LANGUAGES[name]


def _check_template(name: str, template: str, wanted: tuple[str, ...]) -> None:
    try:
        found = {
            field for _, field, _, _ in string.Formatter().parse(template) if field is not None
        }
    except ValueError as error:
        raise UserError(f"Language.{name} {template!r} is no template ({error})") from None
    if found != set(wanted):
        fields = " and ".join(f"{{{field}}}" for field in wanted)
        raise UserError(f"Language.{name} is {template!r}, expected a text with {fields} in it")


_TEMPLATES = {
    "final": ("answer",),
    "letter": ("letter",),
    "option": ("letter", "text"),
    "subject": ("subject",),
}

ENGLISH = Language(
    question="Q:",
    answer="A:",
    final="The answer is {answer}.",
    letter="({letter})",
    option="({letter}) {text}",
    truth=("True", "False"),
    markers=MappingProxyType(
        {
            "cot": "Let's think step by step.",
            "error": "The common mistakes are:",
            "fundamental": "The fundamental of this question is:",
        }
    ),
    subject="The following are multiple choice questions (with answers) about {subject}.",
)
CHINESE = Language(
    question="问：",
    answer="答：",
    final="答案是{answer}。",
    letter="（{letter}）",
    option="（{letter}）{text}",
    truth=("正确", "错误"),
    markers=MappingProxyType(
        {
            "cot": "让我们一步一步地思考。",
            "error": "常见的错误是：",
            "fundamental": "这道题的基础知识是：",
        }
    ),
    subject="以下是关于{subject}的单项选择题（附答案）。",
)
LANGUAGES: Mapping[str, Language] = MappingProxyType({"en": ENGLISH, "zh": CHINESE})
"""By the code that a record has in `meta["language"]`; without one it is English."""
