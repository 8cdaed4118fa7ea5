"""Runs whose student also resembles its live teacher inside: projections from start to export."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_models import decoder_only, encoder_decoder
from training_metrics import training_metrics

from tlm_jax import models, trees
from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import native
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.checkpoints.structure import AUXILIARY
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.losses.matching import Attention, HiddenStates
from tlm_jax.models.lora import LoraConfig
from tlm_jax.runs.training import parts
from tlm_jax.runs.training.config import CheckpointConfig, EvaluationConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import ByteVocabulary

STUDENT = encoder_decoder(264, num_decoder_layers=2)
WIDER = dataclasses.replace(STUDENT, embed_dim=24, num_heads=3, num_decoder_layers=3)
ALONE = decoder_only(264, embed_dim=24, num_heads=3, num_layers=2)
MATCHING = (
    HiddenStates(((0, 1), (-1, -1)), weight=0.5),
    HiddenStates(((0, 0),), "cosine", stack="encoder"),
    Attention(((1, 2),), weight=10.0, of="cross"),
    Attention(((0, 0),), "cosine"),
)


def weighed(row: dict) -> float:
    """Returns what the matchings are of a loss."""
    return sum(m.weight * row[f"{m.name}_difference"] for m in MATCHING)


def projections(run) -> dict[str, np.ndarray]:
    """Returns those in the newest checkpoint, by name."""
    manager = CheckpointManager(Path(run.model_dir, "checkpoints"))
    restored = manager.restore(parts.build_parts(run).abstract_state)
    manager.close()
    assert restored is not None
    flat = trees.flatten(restored[1].state.params[AUXILIARY])
    return {name: np.asarray(array) for name, array in flat.items()}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """The MODEL_DIRs of an encoder-decoder and of a decoder-only teacher, both untrained."""
    made = {}
    for name, model in (("wider", WIDER), ("alone", ALONE)):
        directory = tmp_path_factory.mktemp(name)
        params = trees.flatten(models.init(jax.random.key(7), model))
        arrays = {name: in_memory(np.asarray(array)) for name, array in params.items()}
        native.write(directory, model, arrays, None, written=lambda *block: None)
        made[name] = str(directory)
    return made


@pytest.fixture(scope="module")
def packed_run(tiny_module_run, teachers):
    """A packed run of six steps that matches everything, and what it was told to do."""
    plain = tiny_module_run("packed")
    run = dataclasses.replace(
        plain,
        model=STUDENT,
        loss=DistillationObjective(matching=MATCHING),
        teacher=LiveTeacher(teachers["wider"]),
        data=dataclasses.replace(plain.data, pack=True),
        log_period_steps=1,
        checkpoints=CheckpointConfig(period_steps=3),
    )
    run_training(run, "")
    return run


def test_the_student_comes_closer_and_its_projections_learn(packed_run):
    rows = training_metrics(packed_run.model_dir)
    for row in rows:
        np.testing.assert_allclose(row["loss"], row["divergence"] + weighed(row), rtol=1e-5)
    assert weighed(rows[-1]) < 0.8 * weighed(rows[0])
    for name in ("decoder_hidden_states", "encoder_hidden_states"):
        assert rows[-1][f"{name}_difference"] < 0.95 * rows[0][f"{name}_difference"]
    trained = projections(packed_run)
    built = parts.build_parts(packed_run)
    fresh = built.initial_state(packed_run.seed).params
    new = trees.flatten(fresh[AUXILIARY])
    shapes = {name: kernel.shape for name, kernel in trained.items()}
    assert shapes == {
        "decoder_hidden_states/0_to_1": (16, 24),
        "decoder_hidden_states/-1_to_-1": (16, 24),
        "encoder_hidden_states/0_to_0": (16, 24),
        "cross_attention/1_to_2": (2, 3),
        "decoder_attention/0_to_0": (2, 3),
    }
    for name, kernel in trained.items():
        assert np.abs(kernel - np.asarray(new[name])).max() > 0.005, name
    # The student itself starts as it would without, and is what is evaluated.
    student = built.trainable.whole(None, fresh)
    alone = models.init(jax.random.fold_in(jax.random.PRNGKey(0), 0xC0FFEE), STUDENT)
    jax.tree.map(np.testing.assert_array_equal, student, alone)


def test_going_on_is_as_if_never_stopped(packed_run, tiny_run):
    part = dataclasses.replace(packed_run, model_dir=tiny_run("part").model_dir)
    shutil.copytree(packed_run.model_dir, part.model_dir)
    shutil.rmtree(Path(part.model_dir, "checkpoints", "6"))
    run_training(part, "")
    expected, seen = training_metrics(packed_run.model_dir), training_metrics(part.model_dir)
    assert [row["loss"] for row in seen] == [row["loss"] for row in expected]
    whole = projections(packed_run)
    for name, kernel in projections(part).items():
        np.testing.assert_array_equal(kernel, whole[name], err_msg=name)


def test_the_model_is_taken_out_without_them(packed_run, tmp_path):
    opened = open_pretrained(packed_run.model_dir)
    assert not [name for name in opened.arrays if AUXILIARY in name]
    params = load_params(opened, STUDENT)
    assert params.keys() == {"token_embedder", "encoder", "decoder"}
    convert(opened, tmp_path / "t5x", "t5x")
    written = open_pretrained(tmp_path / "t5x")
    assert written.arrays.keys() == opened.arrays.keys()
    embedding = written.arrays["token_embedder/embedding"].read()
    np.testing.assert_array_equal(embedding, params["token_embedder"]["embedding"])


def test_devices_and_micro_batches_change_nothing(packed_run, tiny_run):
    run = dataclasses.replace(
        packed_run,
        model_dir=tiny_run("eight").model_dir,
        mesh=MeshShape(data=2, fsdp=2, tensor=2),
        micro_batches=2,
        train_steps=3,
    )
    run_training(run, "")
    names = ["loss", "gradient_norm", "divergence", *(f"{m.name}_difference" for m in MATCHING)]
    for one, eight in zip(training_metrics(packed_run.model_dir), training_metrics(run.model_dir)):
        for name in names:
            np.testing.assert_allclose(one[name], eight[name], rtol=1e-3, err_msg=name)


@pytest.mark.slow
def test_a_teacher_of_the_other_architecture_has_hidden_states_to_match(tiny_run, teachers):
    run = tiny_run(
        model=STUDENT,
        loss=DistillationObjective(matching=[HiddenStates(((0, 0), (1, 1)))]),
        teacher=LiveTeacher(teachers["alone"]),
        log_period_steps=1,
    )
    run_training(run, "")
    rows = training_metrics(run.model_dir)
    name = "decoder_hidden_states_difference"
    assert rows[-1][name] < rows[0][name]


@pytest.mark.slow
def test_adapters_are_trained_beside_projections(tiny_run, teachers):
    run = tiny_run(
        model=STUDENT,
        loss=DistillationObjective(matching=MATCHING),
        teacher=LiveTeacher(teachers["wider"]),
        lora=LoraConfig(rank=2, targets="."),
        log_period_steps=1,
        evaluation=EvaluationConfig(("addition_direct",), num_examples=8, batch_size=8),
    )
    run_training(run, "")
    rows = training_metrics(run.model_dir)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not list(Path(run.model_dir, "adapter").rglob(f"*{AUXILIARY}*"))
    evaluated = Path(run.model_dir, "metrics.jsonl").read_text()
    assert '"split": "eval/addition_direct"' in evaluated
    run_training(dataclasses.replace(run, train_steps=7), "")


def test_impossible_matchings_are_refused_in_one_line(tiny_run, teachers):
    wider, alone = (LiveTeacher(teachers[name]) for name in ("wider", "alone"))

    def build(*matching, **fields):
        objective = DistillationObjective(matching=matching)
        fields = {"model": STUDENT, "loss": objective, "teacher": wider, **fields}
        parts.build_parts(tiny_run(**fields))

    with pytest.raises(UserError, match="layer 3 of the teacher, which has 3"):
        build(HiddenStates(((0, 3),)))
    with pytest.raises(UserError, match=r"layer -2 of the student, which has 1: .* -1 to 0"):
        build(HiddenStates(((-2, 0),), stack="encoder"))
    with pytest.raises(UserError, match="decoder_hidden_states are matched twice"):
        build(HiddenStates(), HiddenStates(((0, 0),)))
    with pytest.raises(UserError, match="decoder_attention, but a decoder-only model attends to"):
        build(Attention(), teacher=alone)
    with pytest.raises(UserError, match="cross_attention, but student and teacher are not both"):
        build(Attention(of="cross"), teacher=alone)
    other = dataclasses.replace(wider, vocabulary=ByteVocabulary(extra_ids=1))
    with pytest.raises(UserError, match="token by token, but the teacher has another vocabulary"):
        build(HiddenStates(), teacher=other)
    with pytest.raises(UserError, match="which no cache holds: set TEACHER_PATH"):
        build(HiddenStates(), teacher=TeacherJoin(["cache"]))
    with pytest.raises(UserError, match="projections of MATCHING: leave out one of the two"):
        build(HiddenStates(), restore_optimizer=True, initial_checkpoint_path="model")
