"""Which losses learn from a teacher's draws what they learn from its distribution: every outcome
of two draws, weighed by its probability, instead of many random ones."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.alignment.rows import RowMapper
from tlm_jax.losses.distillation import Distillation, distillation_loss
from tlm_jax.losses.teachers import SparseTeacher
from tlm_jax.teacher_cache.sampled import steps_from_draws
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow
from tlm_jax.vocabularies.token_bytes import TokenTable

P = np.array([0.4, 0.3, 0.2, 0.1])
LOGITS = np.array([0.3, -1.0, 0.8, 0.1])
Q = np.exp(LOGITS) / np.exp(LOGITS).sum()
DRAWS = np.array(list(itertools.product(range(4), repeat=2)), np.int32)
PROBABILITIES = P[DRAWS].prod(axis=1)


def expected_gradient(steps: StepDistributions, settings: Distillation) -> np.ndarray:
    """Returns the gradient by the student's logits, a row an outcome, summed by probability."""
    arrays = (steps.ids, steps.logprobs, steps.tail_logprobs, steps.weights)
    teacher = SparseTeacher(*(jnp.asarray(array)[:, None] for array in arrays))
    weights = jnp.asarray(PROBABILITIES, jnp.float32)[:, None]
    targets = jnp.zeros((len(DRAWS), 1), jnp.int32)

    def loss(logits):
        everywhere = jnp.broadcast_to(logits, (len(DRAWS), 1, 4))
        return distillation_loss(everywhere, targets, weights, teacher, settings).loss.total

    return np.asarray(jax.grad(loss)(jnp.asarray(LOGITS, jnp.float32)))


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def of_draws() -> StepDistributions:
    return steps_from_draws(DRAWS, np.ones(len(DRAWS), np.float32))


@pytest.mark.parametrize(
    ("support", "unbiased"), [("tail", 1), ("unnormalized", 1), ("renormalized", 0)]
)
def test_all_draws_give_the_whole_distributions_gradient(support, unbiased):
    found = expected_gradient(of_draws(), Distillation(support=support))
    if unbiased:
        np.testing.assert_allclose(found, Q - P, atol=1e-6)
    else:
        assert off(found, Q - P) > 0.5


def test_the_commoner_draws_alone_give_another_gradient():
    """What TEACHER_CANDIDATES would do: of two tokens drawn once, one joins the tail."""
    steps = of_draws()
    rarer = np.logaddexp(steps.logprobs[:, 1], steps.tail_logprobs)
    cut = StepDistributions(steps.ids[:, :1], steps.logprobs[:, :1], rarer, steps.weights)
    assert off(expected_gradient(cut, Distillation()), Q - P) > 0.1


@pytest.mark.parametrize("lost_mass", ["tail", "renormalize", "unnormalized"])
def test_draws_in_another_vocabulary_give_another_gradient(lost_mass):
    """The student has no `d`, and an `e` instead; the text is `a`, which has a counterpart."""
    teacher = TokenTable((b"a", b"b", b"c", b"d"), frozenset(), None, "teacher")
    student = TokenTable((b"a", b"b", b"c", b"e"), frozenset(), None, "student")
    mapper = RowMapper(teacher, student, lost_mass=lost_mass)
    scored = np.zeros(1, np.int32)

    def mapped(steps: StepDistributions) -> StepDistributions:
        rows = [
            TeacherRow(
                "key",
                "id",
                scored,
                StepDistributions(
                    steps.ids[i : i + 1],
                    steps.logprobs[i : i + 1],
                    steps.tail_logprobs[i : i + 1],
                    steps.weights[i : i + 1],
                ),
            )
            for i in range(len(steps.ids))
        ]
        found = [m.steps for m in mapper.map_rows(rows, [scored] * len(rows))]
        return StepDistributions(
            *(
                np.concatenate([getattr(f, name) for f in found])
                for name in ("ids", "logprobs", "tail_logprobs", "weights")
            )
        )

    whole = StepDistributions(
        np.tile(np.arange(4, dtype=np.int32), (len(DRAWS), 1)),
        np.tile(np.log(P).astype(np.float32), (len(DRAWS), 1)),
        np.full(len(DRAWS), -np.inf, np.float32),
        np.ones(len(DRAWS), np.float32),
    )
    wanted = expected_gradient(mapped(whole), Distillation())
    by_hand = {
        "tail": Q - P,  # the mass of d is all there is outside a, b and c, as e is
        "renormalize": Q - np.append(P[:3], 0) / 0.9,
        "unnormalized": 0.9 * Q - np.append(P[:3], 0),
    }[lost_mass]
    np.testing.assert_allclose(wanted, by_hand, atol=1e-6)
    assert off(expected_gradient(mapped(of_draws()), Distillation()), wanted) > 0.01
