"""A step's FLOPs are the student's training and its teacher's forward pass, by hand."""

import dataclasses
import types
from typing import Any

import jax
import numpy as np
import pytest

from tlm_jax import models, precompile, trees
from tlm_jax.checkpoints.formats import native
from tlm_jax.lazy import in_memory
from tlm_jax.models.config import DecoderOnlyConfig
from tlm_jax.models.lora import LoraConfig
from tlm_jax.runs.training import adapters
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.parts import abstract_batch, build_parts
from tlm_jax.runs.training.step_flops import step_flops
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import SentencePieceVocabulary

PIECES = "asset:word_problems"
ALONE = DecoderOnlyConfig(
    vocab_size=264, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_layers=1
)


@pytest.fixture
def written(tmp_path):
    """Returns a function that writes a model with new parameters, and gives its path."""

    def write(name, config):
        params = trees.flatten(models.init(jax.random.key(0), config))
        arrays = {name: in_memory(np.asarray(array)) for name, array in params.items()}
        (tmp_path / name).mkdir()
        native.write(tmp_path / name, config, arrays, None, written=lambda _: None)
        return str(tmp_path / name)

    return write


def _counted(run):
    built = build_parts(run, jax.devices()[:1])
    batch = abstract_batch(run, built.batch_sharding, built.teacher)
    return step_flops(run, batch, built.teacher), adapters.train_flops(run, batch)


def _alone(length, predictions, vocab_size):
    """FLOPs of the forward pass of `ALONE` over 8 rows, and of so many predictions each."""
    D, NH, F = 16, 16, 32
    layer = 4 * D * NH + 2 * length * NH + 3 * D * F
    return 2 * 8 * (length * layer + predictions * D * vocab_size)


def test_a_live_teacher_of_the_same_kind_adds_a_third_of_its_training(tiny_run, written):
    wider = dataclasses.replace(tiny_run().model, num_encoder_layers=3, dropout_rate=0.0)
    teacher = LiveTeacher(written("teacher", wider))
    run = tiny_run(loss=DistillationObjective(), teacher=teacher)
    counted, students = _counted(run)
    of_teacher = _counted(dataclasses.replace(tiny_run(), model=wider))[0] / 3
    assert counted == pytest.approx(students + of_teacher)


def test_a_live_teacher_of_the_other_kind_reads_inputs_and_targets_as_one(tiny_run, written):
    teacher = LiveTeacher(written("teacher", ALONE))
    counted, students = _counted(tiny_run(loss=DistillationObjective(), teacher=teacher))
    assert counted == pytest.approx(students + _alone(32 + 32, 32, 264))


def test_a_live_teacher_of_another_vocabulary_reads_its_own_tokens(tiny_run, written):
    size = SentencePieceVocabulary(PIECES).size
    teacher = LiveTeacher(
        written("teacher", dataclasses.replace(ALONE, vocab_size=size)),
        vocabulary=PIECES,
        feature_lengths={"inputs": 20, "targets": 12},
    )
    counted, students = _counted(tiny_run(loss=DistillationObjective(), teacher=teacher))
    assert counted == pytest.approx(students + _alone(20 + 12, 32, size))


def test_precompile_tells_of_adapters_and_counts_with_them(tiny_run):
    run = tiny_run(lora=LoraConfig(rank=1, targets="decoder.*/wo$"))
    built = build_parts(run, jax.devices()[:1])
    topology: Any = types.SimpleNamespace(name="one chip", devices=[0])
    line = precompile._headline(run, built, topology)
    # One kernel of 32 x 16: a column of 32 and a row of 16.
    assert line.startswith("0.00B parameters, 48 more in adapters that are trained, on one chip")
    counted, _ = _counted(run)
    assert counted < _counted(tiny_run())[0]
