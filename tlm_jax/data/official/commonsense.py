"""Records from the official files of the commonsense and entailment data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlm_jax.data.official.files import field, letter_of, read_json, read_table, wrap
from tlm_jax.data.records import LETTERS, Record, read_json_lines
from tlm_jax.errors import UserError

ENTAILMENT_LABELS = ("entailment", "neutral", "contradiction")
SENSE_QUESTION = "Of the following two sentences, which one is against common sense?"


def read_commonsenseqa(path: Path, split: str) -> Iterator[Record]:
    """Yields records of `*_rand_split.jsonl`: `{answerKey, id, question{stem, choices, ...}}`."""
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        question = field(row, "question", where)
        with wrap(where):
            yield Record(
                id=field(row, "id", where),
                dataset="commonsenseqa",
                split=split,
                kind="choice",
                question=field(question, "stem", where),
                options=_choices(question, where),
                answer=field(row, "answerKey", where),
                meta={"concept": question.get("question_concept")},
            )


def read_qasc(path: Path, split: str) -> Iterator[Record]:
    """Yields records of QASC's JSON Lines; the rationale is fact 1, fact 2 and what follows."""
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        question = field(row, "question", where)
        with wrap(where):
            yield qasc_record(
                row,
                question=field(question, "stem", where),
                options=_choices(question, where),
                split=split,
                where=where,
            )


def qasc_record(
    row: Mapping[str, Any],
    *,
    question: str,
    options: tuple[str, ...],
    split: str,
    where: str,
) -> Record:
    """Returns a QASC record from its facts and key; the files and TFDS differ in the question."""
    names = ("fact1", "fact2", "combinedfact")
    facts = {name: row[name].strip() for name in names if row.get(name)}
    return Record(
        id=field(row, "id", where),
        dataset="qasc",
        split=split,
        kind="choice",
        question=question,
        options=options,
        answer=field(row, "answerKey", where),
        rationale=" ".join(_sentence(fact) for fact in facts.values()) or None,
        meta=facts,
    )


def read_creak(path: Path, split: str) -> Iterator[Record]:
    """Yields records of CREAK's JSON lines `{ex_id, sentence, explanation, label, entity}`."""
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        label = field(row, "label", where)
        if label not in ("true", "false"):
            raise UserError(f"{where}: the label must be 'true' or 'false', got {label!r}.")
        with wrap(where):
            yield Record(
                id=str(row.get("ex_id") or f"creak-{split}-{number - 1}"),
                dataset="creak",
                split=split,
                kind="boolean",
                question=field(row, "sentence", where),
                options=None,
                answer="yes" if label == "true" else "no",
                rationale=row.get("explanation") or None,
                meta={"entity": row.get("entity"), "label": label},
            )


def read_strategyqa(path: Path, split: str) -> Iterator[Record]:
    """Yields records of StrategyQA's JSON list; the rationale is the facts, joined by spaces."""
    for i, row in enumerate(read_json(path, list)):
        where = f"{path}, item {i}"
        answer = field(row, "answer", where)
        if not isinstance(answer, bool):
            raise UserError(f"{where}: the answer must be true or false, got {answer!r}.")
        facts = row.get("facts") or []
        with wrap(where):
            yield Record(
                id=str(row.get("qid") or f"strategyqa-{split}-{i}"),
                dataset="strategyqa",
                split=split,
                kind="boolean",
                question=field(row, "question", where),
                options=None,
                answer="yes" if answer else "no",
                rationale=" ".join(facts) or None,
                meta={
                    "term": row.get("term"),
                    "description": row.get("description"),
                    "facts": facts,
                    "decomposition": row.get("decomposition"),
                },
            )


def read_ecqa(path: Path, split: str) -> Iterator[Record]:
    """Yields records of ECQA's generated `cqa_data_*.csv`, the free-flow text as rationale."""
    for where, row in read_table(path):
        options = tuple(field(row, f"q_op{i}", where) for i in range(1, 6))
        answer = letter_of(field(row, "q_ans", where), options, where)
        with wrap(where):
            yield Record(
                id=field(row, "q_no", where),
                dataset="ecqa",
                split=split,
                kind="choice",
                question=field(row, "q_text", where),
                options=options,
                answer=answer,
                rationale=row.get("taskB") or None,
                meta={
                    "concept": row.get("q_concept"),
                    "pos": row.get("taskA_pos"),
                    "neg": row.get("taskA_neg"),
                },
            )


def read_sensemaking(path: Path, split: str) -> Iterator[Record]:
    """Yields records of SemEval-2020 task 4's `train.csv`: a sensible and a senseless statement.

    The file always has the sensible one first; which comes first here is fixed by a hash of the
    two. The rationale is the first right reason.
    """
    for i, (where, row) in enumerate(read_table(path)):
        sensible = field(row, "Correct Statement", where).strip()
        senseless = field(row, "Incorrect Statement", where).strip()
        digest = hashlib.sha256(f"{sensible}\n{senseless}".encode()).digest()
        statements = (senseless, sensible) if digest[0] % 2 else (sensible, senseless)
        with wrap(where):
            yield Record(
                id=f"sensemaking-{split}-{i}",
                dataset="sensemaking",
                split=split,
                kind="choice",
                question=SENSE_QUESTION,
                options=statements,
                answer=LETTERS[statements.index(senseless)],
                rationale=row.get("Right Reason1") or None,
                meta={"reasons": [row[name] for name in row if name.startswith("Right Reason")]},
            )


def read_esnli(path: Path, split: str) -> Iterator[Record]:
    """Yields records of e-SNLI's `esnli_*.csv`; rows without a gold label are left out."""
    for where, row in read_table(path):
        label = field(row, "gold_label", where)
        if label == "-":
            continue
        with wrap(where):
            yield esnli_record(
                name=field(row, "pairID", where),
                split=split,
                premise=field(row, "Sentence1", where),
                hypothesis=field(row, "Sentence2", where),
                label=label,
                explanations=[row.get(f"Explanation_{i}") or "" for i in (1, 2, 3)],
            )


def read_esnli_train(path: Path, split: str) -> Iterator[Record]:
    """Yields records of e-SNLI's training split, `esnli_train_1.csv` and `..._2.csv` beside it."""
    for part in (path, path.with_name(path.name.replace("_1.csv", "_2.csv"))):
        if not part.exists():
            raise UserError(f"{part}: this second part of e-SNLI's training split is missing.")
        yield from read_esnli(part, split)


def esnli_record(
    *,
    name: str,
    split: str,
    premise: str,
    hypothesis: str,
    label: str,
    explanations: list[str],
) -> Record:
    """Returns an entailment question with its three labels as options."""
    if label not in ENTAILMENT_LABELS:
        raise UserError(f"the label must be one of {', '.join(ENTAILMENT_LABELS)}, got {label!r}.")
    given = [text.strip() for text in explanations if text.strip()]
    return Record(
        id=name,
        dataset="esnli",
        split=split,
        kind="choice",
        question=f"Premise: {premise.strip()}\nHypothesis: {hypothesis.strip()}",
        options=ENTAILMENT_LABELS,
        answer=LETTERS[ENTAILMENT_LABELS.index(label)],
        rationale=given[0] if given else None,
        meta={
            "premise": premise.strip(),
            "hypothesis": hypothesis.strip(),
            "label": label,
            "explanations": given,
        },
    )


def read_qed(path: Path, split: str) -> Iterator[Record]:
    """Yields records of QED's `qed-*.jsonlines`.

    Answer: the annotated one, else Natural Questions' own; rationale: the selected sentence.
    """
    for number, row in read_json_lines(path):
        where = f"{path}:{number}"
        annotation = field(row, "annotation", where)
        sentence = (annotation.get("selected_sentence") or {}).get("string")
        with wrap(where):
            yield Record(
                id=str(field(row, "example_id", where)),
                dataset="qed",
                split=split,
                kind="text",
                question=field(row, "question_text", where),
                options=None,
                answer=_qed_answer(row, annotation),
                rationale=sentence or None,
                meta={
                    "passage": row.get("paragraph_text"),
                    "title": row.get("title_text"),
                    "explanation_type": annotation.get("explanation_type"),
                    "equalities": [
                        [pair["question_reference"]["string"], pair["sentence_reference"]["string"]]
                        for pair in annotation.get("referential_equalities") or []
                    ],
                },
            )


def _qed_answer(row: Mapping[str, Any], annotation: Mapping[str, Any]) -> str:
    annotated = [a["paragraph_reference"]["string"] for a in annotation.get("answer") or []]
    original = row.get("original_nq_answers") or []
    spans = [span["string"] for group in original for span in _as_list(group)]
    return ", ".join(annotated or dict.fromkeys(spans))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _choices(question: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Returns the texts of choices labelled A, B, ... in that order."""
    choices = sorted(field(question, "choices", where), key=lambda choice: choice["label"])
    labels = "".join(choice["label"] for choice in choices)
    if labels != LETTERS[: len(labels)]:
        raise UserError(f"{where}: expected choices labelled A, B, ..., got {labels!r}.")
    return tuple(choice["text"] for choice in choices)


def _sentence(text: str) -> str:
    """Returns a fact with its first letter large and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('. ')}."
