"""Importing this module enters every task and mixture into SeqIO's registries, for T5X's users.

    MIXTURE_OR_TASK_MODULE = 'tlm_jax.seqio_tasks'          # in a gin file of T5X's
    seqio_cache_tasks --module_import=tlm_jax.seqio_tasks   # and other tools of SeqIO's

Data files are looked for in TLM_JAX_DATA_DIR. The tasks are tokenized with the vocabulary that
TLM_JAX_VOCABULARY names when the module is imported (`spiece.model+100`, as VOCABULARY of our own
commands), or the one that `register` is given later; else with the one that comes with the library.
Answers are graded by our rules, those of the kind of answer that each example has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.data import seqio_bridge, tasks
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import grade_example
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name

VOCABULARY_VARIABLE = "TLM_JAX_VOCABULARY"

_GRADED_FIELDS = ("answer", "kind", "options_json")


def register(vocabulary: Any = None) -> None:
    """Enters every task and mixture into SeqIO's registries, anew where they are there already.

    Args:
      vocabulary: of all tasks: a name, as VOCABULARY of our own commands takes it, a vocabulary of
        ours, or one of SeqIO's; None: each task's own.

    Raises:
      UserError: nobody can tell what vocabulary the name means, or its file cannot be read.
    """
    if isinstance(vocabulary, str):
        vocabulary = vocabulary_from_name(vocabulary)
    if isinstance(vocabulary, Vocabulary):
        _ = vocabulary.size  # reads the file now, for its errors
    tasks.load_tasks()
    seqio_bridge.show(
        seqio_bridge.View(
            vocabulary=None if vocabulary is None else seqio_bridge.for_seqio(vocabulary),
            postprocess_fn=graded_fields,
            metric_fns=(exact_answer,),
        )
    )


def graded_fields(
    text: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> str | dict[str, str]:
    """Returns, of a target, the fields by which its example is graded; a prediction stays."""
    if not is_target:
        return text
    found = example or {}
    return {name: _text(found[name]) for name in _GRADED_FIELDS if name in found}


def exact_answer(
    targets: Sequence[Mapping[str, str]], predictions: Sequence[str]
) -> dict[str, float]:
    """Returns the share of right answers, and of texts without one, among the graded examples.

    An example without an answer, or with one that its rule cannot read, is not graded; where none
    is, there are no figures.
    """
    verdicts = [grade_example(target, text) for target, text in zip(targets, predictions)]
    graded = [(extracted, right) for _, extracted, right in verdicts if right is not None]
    if not graded:
        return {}
    return {
        "accuracy": sum(right for _, right in graded) / len(graded),
        "unparsable_share": sum(extracted is None for extracted, _ in graded) / len(graded),
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _register_as_named() -> None:
    name = os.environ.get(VOCABULARY_VARIABLE)
    try:
        register(name or None)
    except UserError as error:
        raise UserError(f"{VOCABULARY_VARIABLE}={name}: {error}" if name else str(error)) from error


_register_as_named()
