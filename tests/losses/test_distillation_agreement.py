"""Distillation agrees with TRL and with the code of Flan-T5 specialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distillation_reference import (
    float32,
)

from tlm_jax.losses.distillation import Distillation, distillation_loss
from tlm_jax.losses.teachers import LogitsTeacher, SparseTeacher


def fixture(shared_dir):
    arrays = np.load(shared_dir / "fixtures/hf/losses/reference.npz")
    labels = arrays["labels"]
    student, teacher = float32(arrays["student_logits"], arrays["teacher_logits"])
    targets, weights = float32(np.where(labels < 0, 0, labels), (labels >= 0).astype(np.float32))
    return arrays, student, teacher, targets, weights


def assert_agrees(arrays, name, student, targets, weights, teacher, settings):
    def mean(student):
        return distillation_loss(student, targets, weights, teacher, settings).loss.mean()

    value, gradient = jax.value_and_grad(mean)(student)
    np.testing.assert_allclose(value, arrays[f"loss/{name}"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient, arrays[f"grad/{name}"], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_agrees_with_trl_on_whole_distributions(shared_dir, beta, temperature):
    arrays, student, teacher, targets, weights = fixture(shared_dir)
    settings = Distillation(divergence=f"jensen_shannon({beta})", temperature=temperature)
    whole = LogitsTeacher(teacher, jnp.ones_like(weights))
    name = f"gkd_beta{beta}_T{temperature}"
    assert_agrees(arrays, name, student, targets, weights, whole, settings)


@pytest.mark.parametrize(
    ("name", "support"),
    [
        ("trl_server_forward_kl_top5_tail1", "tail"),
        ("trl_server_forward_kl_top5_tail0", "renormalized"),
        ("flan_t5_cot_dense_top5", "unnormalized"),
    ],
)
def test_agrees_with_trl_and_the_flan_t5_code_on_candidates(shared_dir, name, support):
    arrays, student, _, targets, weights = fixture(shared_dir)
    ids, logprobs = float32(arrays["topk_ids"], arrays["topk_logprobs"])
    tail = jnp.log1p(-jnp.exp(logprobs).sum(-1))
    teacher = SparseTeacher(ids, logprobs, tail, jnp.ones_like(weights))
    settings = Distillation(support=support)
    assert_agrees(arrays, name, student, targets, weights, teacher, settings)
