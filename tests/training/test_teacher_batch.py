"""A teacher of the other architecture reads a student's batch as it would read its own."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_models import decoder_only, encoder_decoder

from tlm_jax import models
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.training.teacher_batch import teacher_batch

PAIR = encoder_decoder(40)
ALONE = decoder_only(40, num_kv_heads=1, num_layers=2)
INPUTS = ([7, 8, 5, 1], [8, 4, 9, 3, 1], [6, 1])
TARGETS = ([3, 9, 1], [4, 1], [11, 12, 13, 1])


BOS = 2
"""Not 0: what starts a text is the vocabulary's to say."""


def batches(rows: tuple[int, ...], packed: bool):
    """Returns the examples as each architecture has them, example i in row rows[i]."""
    features = {
        name: Ragged.from_arrays([np.array(x) for x in values], np.int32)
        for name, values in (("inputs", INPUTS), ("targets", TARGETS))
    }
    examples = TokenizedExamples(features, ("a", "b", "c"), ({}, {}, {}))
    made = {}
    for name in ("encoder_decoder", "decoder_only"):
        converter = make_converter(name, feature_lengths={"inputs": 10, "targets": 8}, bos_id=BOS)
        prepared = converter.prepare(examples)
        made[name] = jax.device_put(
            converter.convert(prepared, np.array(rows), max(rows) + 1, packed=packed)
        )
    return made


def target_logits(config, batch, start: int, rows: int, length: int) -> np.ndarray:
    params = models.init(jax.random.key(1), config)
    return np.asarray(models.logits(params, batch, config))[:rows, start : start + length]


def by_target(
    batch: dict[str, np.ndarray], logits: np.ndarray
) -> dict[tuple[int, int], np.ndarray]:
    """Returns the logits of each weighed target, by the row and its number there."""
    found = {}
    for row, weights in enumerate(batch["decoder_loss_weights"]):
        for number, place in enumerate(np.flatnonzero(weights)):
            found[row, number] = logits[row, place]
    return found


LAYOUTS = [((0, 1, 2), False), ((0, 1, 0), True)]


@pytest.mark.parametrize(("rows", "packed"), LAYOUTS)
@pytest.mark.parametrize("prefix_lm", [False, True])
def test_a_decoder_only_teacher_of_an_encoder_decoder(rows, packed, prefix_lm):
    made = batches(rows, packed)
    student = made["encoder_decoder"]
    teacher = dataclasses.replace(ALONE, prefix_lm=prefix_lm)
    own = teacher_batch(student, PAIR, teacher)
    count, length = student["decoder_target_tokens"].shape
    seen = target_logits(teacher, own.batch, own.start, count, length)
    wanted = made["decoder_only"]
    expected = target_logits(teacher, wanted, 0, count, wanted["decoder_target_tokens"].shape[1])
    found, known = by_target(student, seen), by_target(wanted, expected)
    assert found.keys() == known.keys()
    for place in known:
        np.testing.assert_allclose(found[place], known[place], atol=1e-5)


@pytest.mark.parametrize(("rows", "packed"), LAYOUTS)
def test_an_encoder_decoder_teacher_of_a_decoder_only_student(rows, packed):
    made = batches(rows, packed)
    student, wanted = made["decoder_only"], made["encoder_decoder"]
    own = teacher_batch(student, ALONE, PAIR)
    count, length = student["decoder_target_tokens"].shape
    seen = target_logits(PAIR, own.batch, own.start, count, length)
    expected = target_logits(PAIR, wanted, 0, count, wanted["decoder_target_tokens"].shape[1])
    found, known = by_target(student, seen), by_target(wanted, expected)
    assert found.keys() == known.keys()
    for place in known:
        np.testing.assert_allclose(found[place], known[place], atol=1e-5)


def test_the_same_architecture_reads_the_same_batch():
    student = batches((0, 1, 2), False)["encoder_decoder"]
    own = teacher_batch(student, PAIR, PAIR)
    assert own.batch is student
    assert own.start == 0
