"""MMLU: 57 subjects, four options (Hendrycks et al. 2021); for evaluation only.

The questions are the user's to get: the official archive's folders `dev`, `val` and `test` of CSV
files. `mmlu_published_prompt` puts the five-shot chain-of-thought prompt of the subject before the
question; in-context formats draw from the subject's five `dev` questions, which have no rationale.
"""

from __future__ import annotations

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formats import FORMATS, final_answer, inline_options
from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, FormattedRecords, MappedRecords
from tlm_jax.data.official.mmlu import read_mmlu, read_mmlu_prompts
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.data.tasks import register_task
from tlm_jax.errors import UserError

EVALUATION_ONLY = "MMLU is for evaluation only; it must not be trained on."

RECORDS = file_records(
    "mmlu",
    "the GitHub project hendrycks/test, its archive data.tar",
    {
        split: [
            uniform(f"mmlu_{published}"),
            *official(
                read_mmlu,
                published,
                f"mmlu/{published}",
                f"mmlu/data/{published}",
                f"data/{published}",
            ),
        ]
        for split, published in (("dev", "dev"), ("validation", "val"), ("test", "test"))
    },
    unreadable={"train": EVALUATION_ONLY},
)


class SubjectDemonstrations(DemonstrationPool):
    """The first questions of the subject's development split, in their order."""

    def draw(self, record: Record, data: RunData, **unused: object) -> tuple[Record, ...]:
        subject, count = record.meta["subject"], data.demonstrations.num
        ours = [r for r in RECORDS.records("dev", data) if r.meta["subject"] == subject]
        others = [r for r in ours if r.question_words() != record.question_words()]
        if len(others) < count:
            raise UserError(
                f"mmlu: {subject} has {len(others)} demonstrations, but NUM_DEMONSTRATIONS is "
                f"{count}; ask for fewer"
            )
        return tuple(others[:count])


def published_prompt(record: Record, data: RunData) -> tuple[str, str]:
    """Returns the subject's five-shot prompt with the question, and the last line of an answer."""
    assert record.options is not None
    prompt = _prompt(record.meta["subject"], data)
    query = f"Q: {record.question}\n{inline_options(record.options)}\n"
    return (
        f"{prompt}\n\n{query}A: Let's think step by step.",
        f"The answer is {final_answer(record)}.",
    )


def _prompt(subject: str, data: RunData) -> str:
    _, path = data.find_file(
        "mmlu, the prompts",
        ["mmlu_cot_prompts.jsonl"],
        "lib_prompt/mmlu-cot.json of FranxYao/FlanT5-CoT-Specialization, as rows with subject and "
        "text",
    )
    prompts = data.once(("mmlu, the prompts", path), lambda: read_mmlu_prompts(path))
    if subject not in prompts:
        raise UserError(
            f"mmlu: there is no published prompt for the subject {subject!r} in {path}."
        )
    return prompts[subject]


for _form in FORMATS.values():
    if _form.cot and _form.in_context:
        continue  # The development questions have no rationales: see mmlu_published_prompt.
    register_task(
        f"mmlu_{_form.name}",
        FormattedRecords(
            RECORDS, _form, SubjectDemonstrations(RECORDS, "dev") if _form.in_context else None
        ),
        vocabulary=EMBEDDED_VOCABULARY,
        description=f"57 subjects, four options [{_form.name.replace('_', ' ')}]",
    )
register_task(
    "mmlu_published_prompt",
    MappedRecords(RECORDS, published_prompt),
    vocabulary=EMBEDDED_VOCABULARY,
    description="MMLU with the published five-shot chain-of-thought prompts",
)
