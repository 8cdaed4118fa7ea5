"""A live teacher of another vocabulary says in the step what one of the same vocabulary says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import decoder_only

from tlm_jax import models
from tlm_jax.losses.distillation import Distillation
from tlm_jax.losses.teachers import SparseTeacher
from tlm_jax.training.distillation import DistillationObjective, StudentAndTeacher
from tlm_jax.training.objectives import ObjectiveContext
from tlm_jax.training.step_teacher import LiveArrays, LiveModel, mapped_candidates

V, ROWS, LENGTH = 24, 2, 6
CONFIG = decoder_only(V)


def batch_for_both() -> dict[str, jax.Array]:
    """Returns rows of which the first token is the prompt, as student and teacher read them."""
    tokens = np.random.default_rng(0).integers(1, V, (ROWS, LENGTH))
    own = {
        "decoder_target_tokens": tokens,
        "decoder_input_tokens": np.pad(tokens[:, :-1], ((0, 0), (1, 0))),
    }
    said = np.arange(LENGTH) > 0
    weights = np.broadcast_to(said, tokens.shape).astype(np.float32)
    steps = np.broadcast_to(np.where(said, np.arange(LENGTH), -1), tokens.shape)
    batch = {**own, **{f"teacher/{name}": array for name, array in own.items()}}
    return jax.tree.map(
        jnp.asarray, batch | {"decoder_loss_weights": weights, "teacher_steps": steps}
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_both_paths_soften_the_teacher_alike(temperature):
    student, teacher = (models.init(jax.random.key(seed), CONFIG) for seed in (0, 1))
    settings = DistillationObjective(Distillation(temperature=temperature))
    context = ObjectiveContext(CONFIG, live=LiveModel(CONFIG, V))
    objective = jax.jit(settings.objective(context), static_argnums=2)
    batch, same = batch_for_both(), jnp.arange(V)

    def apart(teacher_params, student_ids):
        arrays = LiveArrays(teacher_params, student_ids)
        found = objective(StudentAndTeacher(student, arrays), batch, None).metrics["divergence"]
        return found.total / found.weight

    assert abs(apart(student, same)) < 1e-6
    other, own = apart(teacher, same), apart(teacher, None)
    assert own > 1e-4
    np.testing.assert_allclose(other, own, rtol=1e-4)


def test_candidates_of_one_student_token_add_up():
    """Such as a piece `a` and the byte of `a`: two candidates of one id would count twice."""
    told = SparseTeacher(
        jnp.array([[[3, 0, 2, 1]]]),
        jnp.log(jnp.array([[[0.4, 0.3, 0.15, 0.1]]])),
        jnp.log(jnp.array([[0.05]])),
        jnp.ones((1, 1)),
    )
    mapped = mapped_candidates(told, jnp.array([5, 2, -1, 5]))
    found = dict(zip(mapped.token_ids[0, 0].tolist(), np.exp(mapped.logprobs[0, 0]).tolist()))
    kept = {token: p for token, p in found.items() if p > 0}
    assert kept == pytest.approx({5: 0.7, 2: 0.1})
    np.testing.assert_allclose(np.exp(mapped.tail_logprobs), 0.2, rtol=1e-6)
