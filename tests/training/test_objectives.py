"""The objective of every loss: padding, packing and micro-batches change no value and no gradient.

A new `LossConfig` is a line in `LOSSES`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import encoder_decoder

from tlm_jax import models
from tlm_jax.losses.distillation import Distillation
from tlm_jax.training.distillation import DistillationObjective, StudentAndTeacher
from tlm_jax.training.objectives import CrossEntropy, ObjectiveContext

LOSSES = {
    "cross_entropy": CrossEntropy(label_smoothing=0.1, z_loss=1e-2),
    "distillation": DistillationObjective(Distillation(alpha=0.5, temperature=2.0)),
}
NORMALIZATIONS = (None, 7.0, "NUM_REAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE")

V, C = 24, 3
CONFIG = encoder_decoder(V)
LENGTHS = ((4, 3), (2, 5), (6, 1), (3, 4))
"""Tokens of inputs and targets, one example a row."""


def examples() -> list[dict[str, np.ndarray]]:
    """Returns the features of each example, without padding."""
    rng = np.random.default_rng(0)
    made = []
    for inputs, targets in LENGTHS:
        tokens = rng.integers(1, V, targets)
        teacher = np.log(rng.dirichlet(np.ones(C + 1), targets)).astype(np.float32)
        made.append(
            {
                "encoder_input_tokens": rng.integers(1, V, inputs),
                "decoder_input_tokens": np.concatenate([[0], tokens[:-1]]),
                "decoder_target_tokens": tokens,
                "decoder_loss_weights": rng.uniform(0.5, 1.0, targets).astype(np.float32),
                "teacher_token_ids": np.stack(
                    [np.sort(rng.choice(V, C, replace=False)) for _ in range(targets)]
                ),
                "teacher_logprobs": teacher[:, :C],
                "teacher_tail_logprobs": teacher[:, C],
                "teacher_weights": np.ones(targets, np.float32),
            }
        )
    return made


def rows(*groups: list[dict[str, np.ndarray]], inputs: int = 12, targets: int = 9) -> dict:
    """Returns a batch whose rows hold the examples of each group, one behind the other."""
    batch: dict[str, list[np.ndarray]] = {}
    for group in groups:
        made: dict[str, list[np.ndarray]] = {}
        for segment, example in enumerate(group, start=1):
            for side, name in (
                ("encoder", "encoder_input_tokens"),
                ("decoder", "decoder_target_tokens"),
            ):
                count = len(example[name])
                example = {
                    **example,
                    f"{side}_segment_ids": np.full(count, segment),
                    f"{side}_positions": np.arange(count),
                }
            for name, values in example.items():
                made.setdefault(name, []).append(values)
        for name, parts in made.items():
            values = np.concatenate(parts)
            room = (inputs if name.startswith("encoder") else targets) - len(values)
            fill = -np.inf if name == "teacher_logprobs" else 0
            padding = ((0, room),) + ((0, 0),) * (values.ndim - 1)
            batch.setdefault(name, []).append(np.pad(values, padding, constant_values=fill))
    return {name: jnp.asarray(np.stack(values)) for name, values in batch.items()}


def weighed(loss, batch, batch_rows=None):
    """Returns total and weight of a loss on a batch, and the gradient of the total."""
    objective = loss.objective(ObjectiveContext(CONFIG, batch_rows))
    params = models.init(jax.random.key(0), CONFIG)

    @jax.jit
    def run(params):
        given = StudentAndTeacher(params, None) if teaches(loss) else params
        output = objective(given, batch, None)
        return output.loss.total, output.loss.weight

    (total, weight), gradient = jax.value_and_grad(run, has_aux=True)(params)
    return total, weight, gradient


def teaches(loss) -> bool:
    return isinstance(loss, DistillationObjective)


def assert_same(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def loss(request):
    return request.param


def test_padding_and_packing_change_nothing(loss):
    one, two, three, four = examples()
    expected = weighed(loss, rows([one], [two], [three], [four], inputs=6, targets=5))
    assert float(expected[0]) > 0
    assert_same(weighed(loss, rows([one], [two], [three], [four])), expected)
    assert_same(weighed(loss, rows([one, two], [three, four])), expected)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_micro_batches_change_nothing(loss, normalization):
    loss = dataclasses.replace(loss, normalization=normalization)
    one, two, three, four = examples()
    expected = weighed(loss, rows([one], [two], [three], [four]))
    parts = (weighed(loss, rows([a], [b]), batch_rows=4) for a, b in ((one, two), (three, four)))
    assert_same(jax.tree.map(jnp.add, *parts), expected)
