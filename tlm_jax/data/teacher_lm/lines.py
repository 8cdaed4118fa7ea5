"""A record as TeacherLM's line `Q: {question} (A) x (B) y A: The answer is (A).`, and prompts."""

from __future__ import annotations

import dataclasses

from tlm_jax.data.records import LETTERS, Record
from tlm_jax.data.teacher_lm.language import FIELDS, LANGUAGES, Language, language_by_name
from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """How records become text, where the publication leaves a choice.

    Attributes:
      language: a name of `LANGUAGES`; None: the one that a record has in `meta["language"]`, else
        English.
      instruction: before each question, such as CREAK's "Determine the correctness of the following
        sentence."
      subject: whether the record's `meta["subject"]` stands before the whole text ("add subject").
      truth_options: whether a question that is answered by yes or no is a choice between two
        options, as in the official code; else its answer is `yes` or `no`.
      mid_marker: whether a field before the answer has its marker, as fields behind it have.
      manual_marker: what stands before a human explanation; "" for nothing.
    """

    language: str | None = None
    instruction: str = ""
    subject: bool = False
    truth_options: bool = True
    mid_marker: bool = True
    manual_marker: str = ""

    def __post_init__(self) -> None:
        if self.language is not None:
            language_by_name(self.language)

    def words(self, record: Record) -> Language:
        """Returns the fixed words for a record.

        Raises:
          UserError: it names a language that there is not.
        """
        name = self.language or record.meta.get("language") or "en"
        if name not in LANGUAGES:
            raise _wrong(record, f"the language {name!r}, expected one of {', '.join(LANGUAGES)}")
        return LANGUAGES[name]


PUBLISHED = Layout()
"""As published, and as recommended where nothing is."""


def as_asked(record: Record, layout: Layout = PUBLISHED) -> Record:
    """Returns the record as it is asked: with the instruction, and yes or no as a choice."""
    question = record.question.replace("\r\n", " ").replace("\n", " ").strip()
    if layout.instruction:
        question = f"{layout.instruction} {question}"
    record = dataclasses.replace(record, question=question)
    if record.kind != "boolean" or not layout.truth_options:
        return record
    return dataclasses.replace(
        record,
        kind="choice",
        options=layout.words(record).truth,
        answer="A" if record.answer == "yes" else "B",
    )


def question_line(record: Record, layout: Layout = PUBLISHED) -> str:
    """Returns `Q: {question} {options} A:`; line breaks within it become spaces.

    Raises:
      UserError: subjects are added, and the record has none.
    """
    words, asked = layout.words(record), as_asked(record, layout)
    options = (asked.options or ()) if asked.kind == "choice" else ()
    listed = [
        words.option.format(letter=letter, text=" ".join(text.split()))
        for letter, text in zip(LETTERS, options)
    ]
    parts = [words.question, asked.question, *listed, words.answer]
    if layout.subject:
        subject = record.meta.get("subject")
        if not subject:
            raise _wrong(record, "no field meta.subject, which is to stand before its text")
        parts.insert(0, words.subject.format(subject=str(subject).replace("_", " ")))
    return " ".join(parts)


def answer_sentence(record: Record, layout: Layout = PUBLISHED) -> str:
    """Returns `The answer is (A).`; of a question without options the answer itself.

    Raises:
      UserError: the record has no answer.
    """
    if not record.answer:
        raise _wrong(record, "no field 'answer'")
    words, asked = layout.words(record), as_asked(record, layout)
    chosen = asked.kind == "choice"
    answer = words.letter.format(letter=asked.answer) if chosen else asked.answer
    return words.final.format(answer=answer)


def ranked_line(record: Record, layout: Layout = PUBLISHED) -> tuple[str, str]:
    """Returns what letters are compared behind, and the rest of the line: the official context.

        Q: {question} (A) x (B) y A: The answer is (      A).

    Raises:
      UserError: the question has no options.
    """
    asked = as_asked(record, layout)
    if asked.kind != "choice":
        raise _wrong(record, "no options, and letters cannot be compared; answer it in words")
    sentence, words = answer_sentence(record, layout), layout.words(record)
    before = words.final.split("{answer}")[0] + words.letter.split("{letter}")[0]
    return f"{question_line(record, layout)} {before}", sentence.removeprefix(before)


def answered_line(record: Record, layout: Layout = PUBLISHED) -> str:
    """Returns both: `Q: {question} (A) x (B) y A: The answer is (A).`."""
    return f"{question_line(record, layout)} {answer_sentence(record, layout)}"


def elicitation(record: Record, field: str, layout: Layout = PUBLISHED) -> str:
    """Returns the prompt at which a teacher writes a field: the line, a space, and its marker.

    As in the official code double spaces become single ones, once, and none stand at the end.

    Args:
      record: with its answer.
      field: one of `FIELDS`.
      layout: of the line.
    """
    if field not in FIELDS:
        raise UserError(f"no field {field!r}: expected one of {', '.join(FIELDS)}")
    marker = layout.words(record).markers[field]
    return f"{answered_line(record, layout)} {marker}".replace("  ", " ").rstrip()


def explanation(record: Record, field: str) -> str:
    """Returns the text of a field, stripped; `manual` is the human rationale where there is none.

    Raises:
      UserError: it is missing or empty; the message names record and field.
    """
    text = record.generated.get(field)
    if text is None and field == "manual":
        text = record.rationale
    if not isinstance(text, str):
        raise _wrong(record, f"no field {field!r}; enrich the data set, or choose another format")
    if not text.strip():
        raise _wrong(record, f"an empty field {field!r}; leave such records out when enriching")
    return text.strip()


def has_explanation(record: Record, field: str) -> bool:
    """Returns whether `explanation` finds a text."""
    text = record.generated.get(field)
    if text is None and field == "manual":
        text = record.rationale
    return isinstance(text, str) and bool(text.strip())


def _wrong(record: Record, has: str) -> UserError:
    return UserError(f"record {record.id!r} of {record.dataset!r} has {has}")
