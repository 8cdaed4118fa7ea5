"""Two small vocabularies, distributions over them, and mapped steps as dictionaries."""

import numpy as np

from tlm_jax.alignment.vocabulary_map import VocabularyMap
from tlm_jax.teacher_cache.steps import StepDistributions
from tlm_jax.vocabularies.token_bytes import TokenTable


def table(*pieces, eos=0, special=(0,)):
    encoded = tuple(piece.encode() for piece in pieces)
    return TokenTable(encoded, frozenset(special), eos, repr((encoded, eos)))


TEACHER = table("", "A", " B", "b", "\n", "C", " C", " ", "AB", "B", "\n\n")


STUDENT = table("", "", " A", "A", " B", "b", " C", " ", "C", eos=1, special=(0, 1))


TEACHER_TEXTS, STUDENT_TEXTS = TEACHER.texts, STUDENT.texts


MAP = VocabularyMap.of(TEACHER, STUDENT)


def distributions(*steps, width=4, tails=None):
    """Steps given as {id: probability}; the tail is what is missing to 1."""
    shape = len(steps), width
    ids, logprobs = np.zeros(shape, np.int32), np.full(shape, -np.inf, np.float32)
    for row, step in enumerate(steps):
        ids[row, : len(step)] = list(step)
        with np.errstate(divide="ignore"):
            logprobs[row, : len(step)] = np.log(list(step.values()))
    with np.errstate(divide="ignore"):
        missing = [max(0.0, 1 - sum(step.values())) for step in steps] if tails is None else tails
        tail = np.log(np.array(missing, np.float32))
    tail[np.exp(tail) < 1e-6] = -np.inf
    return StepDistributions(ids, logprobs, tail, np.ones(len(steps), np.float32))


def as_dicts(steps):
    found = []
    for ids, logprobs, tail in zip(steps.ids, steps.logprobs, steps.tail_logprobs):
        kept = logprobs > -np.inf
        assert (ids[~kept] == 0).all()
        assert (np.diff(logprobs[kept]) <= 0).all()
        chosen = {int(i): float(np.exp(p)) for i, p in zip(ids[kept], logprobs[kept])}
        assert len(chosen) == kept.sum()
        found.append((chosen, float(np.exp(tail))))
    return found


def ids_array(*ids):
    return np.array(ids, np.int32)


def pieces_of(tokens, side):
    return [side.pieces[i] for i in tokens]
