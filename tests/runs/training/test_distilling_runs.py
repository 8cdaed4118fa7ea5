# pyright: reportArgumentType=false
# pyright: reportPossiblyUnboundVariable=false
"""Runs with a teacher: cached or live, of either architecture and vocabulary, on-policy or not."""

import dataclasses
import json

import numpy as np
import pytest
from leaning_teacher import write_cache
from tiny_models import decoder_only, encoder_decoder  # pyright: ignore[reportMissingImports]
from training_metrics import training_metrics

from tlm_jax import cache_teacher
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.losses.distillation import Distillation
from tlm_jax.runs.training.config import DataConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.teacher_cache import Sampled
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.training.on_policy import OnPolicy
from tlm_jax.vocabularies import ByteVocabulary, SentencePieceVocabulary

BYTES = ByteVocabulary()
PIECES = SentencePieceVocabulary("asset:word_problems")
STUDENT = encoder_decoder(264)
ALONE = decoder_only(264)


def distil(make, name, teacher, *, task="addition_direct", objective=None, **fields):
    """Trains a student for some steps and returns its metrics."""
    run = make(
        name,
        loss=objective or DistillationObjective(),
        teacher=teacher,
        mixture_or_task_name=task,
        log_period_steps=1,
        **fields,
    )
    run_training(run, "")
    return training_metrics(run.model_dir)


@pytest.fixture(scope="module")
def teachers(tiny_module_run):
    """The MODEL_DIRs of teachers: of the student's kind, of the other, and of other tokens."""
    kinds = {
        "same": {"model": STUDENT},
        "decoder": {"model": ALONE},
        "pieces": {
            "model": dataclasses.replace(ALONE, vocab_size=1024),
            "data": DataConfig(vocabulary=PIECES),
        },
    }
    made = {}
    for name, fields in kinds.items():
        run = tiny_module_run(name, train_steps=4, **fields)
        run_training(run, "")
        made[name] = run.model_dir
    return made


@pytest.mark.parametrize("pack", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_cached_teacher_is_learned_from(tiny_run, tmp_path, capsys, pack):
    write_cache(tmp_path / "cache", 400)
    data = dataclasses.replace(tiny_run().data, pack=pack, split="train")
    rows = distil(
        tiny_run,
        "student",
        TeacherJoin([str(tmp_path / "cache")]),
        task="addition_direct_with_teacher",
        data=data,
        train_steps=8,
        model=STUDENT,
    )
    assert rows[-1]["divergence"] < rows[0]["divergence"] - 0.5
    printed = capsys.readouterr().out
    assert "cached rows of sure (topk, num_candidates 2)" in printed
    assert "teacher rows of the" in printed


def test_cached_and_live_teachers_say_the_same(tiny_run, teachers, tmp_path):
    """Whole distributions from cached hidden states, and all candidates, against the live model."""
    solutions = tmp_path / "solutions.jsonl"
    written = [
        {
            "id": f"s{i}",
            "question": f"{i} + 2",
            "prompt": f"Q: {i} + 2\nLet's think step by step",
            "text": f"{i} + 2 = {i + 2}\nThe answer is {i + 2}",
            "answer": str(i + 2),
        }
        for i in range(24)
    ]
    solutions.write_text("".join(json.dumps(row) + "\n" for row in written))
    rows, name, fields = {}, "examples_cot_zero_shot", {}
    for encoding, options in {"hidden": [], "topk": ["NUM_CANDIDATES=264"]}.items():
        cache = tmp_path / encoding
        arguments = [
            *("score", f"MODEL={teachers['decoder']}", f"OUTPUT_DIR={cache}", "BATCH_SIZE=8"),
            *(f"SOLUTIONS={solutions}", "VOCABULARY=byte", "PROMPT_EOS=True"),
            *(f"ENCODING={encoding}", *options),
        ]
        assert cache_teacher.main(arguments) == 0
        examples = str(cache / "examples.jsonl")
        fields = {
            "model": STUDENT,
            "data": DataConfig(vocabulary=BYTES, examples_file=examples, split="all"),
            "train_steps": 1,
            "feature_lengths": {"inputs": 64, "targets": 48},
        }
        join = TeacherJoin([str(cache)], on_unmatched="stop")
        rows[encoding] = distil(tiny_run, encoding, join, task=f"{name}_with_teacher", **fields)[0]
        live = LiveTeacher(teachers["decoder"])
        rows["live"] = distil(tiny_run, f"live_{encoding}", live, task=name, **fields)[0]
    assert rows["live"]["teacher_share"] == 1
    for encoding, tolerance in (("hidden", 0.01), ("topk", 0.01)):
        assert rows[encoding]["teacher_share"] == 1
        np.testing.assert_allclose(
            rows[encoding]["divergence"], rows["live"]["divergence"], rtol=tolerance
        )
    objective = DistillationObjective(Distillation(support="renormalized"))
    join = TeacherJoin([str(tmp_path / "hidden")])
    with pytest.raises(UserError, match=r"SUPPORT is 'renormalized', but .* holds hidden states"):
        distil(
            tiny_run, "refused", join, task=f"{name}_with_teacher", objective=objective, **fields
        )


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny_run, teachers):
    rows = distil(
        tiny_run,
        "student",
        LiveTeacher(teachers["same"]),
        model=STUDENT,
        initial_checkpoint_path=teachers["same"],
        train_steps=1,
    )
    assert abs(rows[0]["divergence"]) < 1e-6
    assert rows[0]["gradient_norm"] < 1e-4
    assert rows[0]["teacher_share"] == 1


def test_a_live_teacher_may_be_of_the_other_architecture(tiny_run, teachers):
    rows = distil(
        tiny_run, "student", LiveTeacher(teachers["decoder"]), model=STUDENT, train_steps=6
    )
    assert rows[-1]["divergence"] < rows[0]["divergence"]
    assert rows[0]["teacher_share"] == 1


def test_a_live_teacher_of_another_vocabulary_says_the_same(tiny_run, teachers):
    """Other ids beyond the bytes make it another vocabulary; every byte has its counterpart."""
    fields = {"model": STUDENT, "train_steps": 1}
    same = distil(tiny_run, "same", LiveTeacher(teachers["decoder"]), **fields)
    other = LiveTeacher(
        teachers["decoder"], vocabulary=ByteVocabulary(extra_ids=1), num_candidates=264
    )
    mapped = distil(tiny_run, "mapped", other, **fields)
    assert mapped[0]["teacher_share"] == 1
    # Ids without bytes (padding, UNK, extra ones) are in the tail of one and apart in the other.
    np.testing.assert_allclose(mapped[0]["divergence"], same[0]["divergence"], rtol=0.02)


def test_a_live_teacher_with_longer_tokens_says_something(tiny_run, teachers, capsys):
    settings = LiveTeacher(teachers["pieces"], vocabulary=PIECES, num_candidates=32)
    rows = distil(tiny_run, "student", settings, model=STUDENT, train_steps=2)
    assert 0 < rows[0]["teacher_share"] < 1
    assert "the teacher read" not in capsys.readouterr().out
    # Prompts such as "12 + 5 =" have more than three pieces: the teacher is not heard at all.
    settings = dataclasses.replace(settings, feature_lengths={"inputs": 3, "targets": 32})
    rows = distil(tiny_run, "cut", settings, model=STUDENT, train_steps=2)
    assert rows[0]["teacher_share"] == 0
    assert (
        "note: the teacher read 16 examples (100.0%) cut to 3 of its inputs tokens, and says "
        "nothing of cut targets, nor behind inputs that the student reads otherwise; raise "
        "TEACHER_FEATURE_LENGTHS to hear it"
    ) in capsys.readouterr().out


def test_a_live_teacher_has_its_own_sharding(tiny_run, teachers):
    fields = {"model": STUDENT, "train_steps": 2}
    plain = distil(tiny_run, "one", LiveTeacher(teachers["decoder"]), **fields)
    sharded = distil(
        tiny_run,
        "eight",
        LiveTeacher(teachers["decoder"], sharding={"embed": ("data", "fsdp"), "mlp": ()}),
        mesh=MeshShape(data=2, fsdp=2, tensor=2),
        micro_batches=2,
        **fields,
    )
    for a, b in zip(plain, sharded):
        np.testing.assert_allclose(a["divergence"], b["divergence"], rtol=1e-4)


@pytest.mark.parametrize("model", [STUDENT, ALONE], ids=["encoder_decoder", "decoder_only"])
def test_on_policy_steps_resume_as_if_never_stopped(tiny_run, teachers, model, capsys):
    fields = {
        "teacher": LiveTeacher(teachers["decoder"]),
        "loss": DistillationObjective(Distillation(divergence="jensen_shannon(0.5)")),
        "on_policy": OnPolicy(student_share=0.5, max_new_tokens=6, seed=1),
        "model": model,
        "log_period_steps": 1,
    }
    whole = tiny_run("whole", **fields)
    run_training(whole, "")
    steps = sum(whole.on_policy.samples_at(step) for step in range(6))
    assert 0 < steps < 6
    assert f"{steps} steps trained on the student's own samples" in capsys.readouterr().out
    part = tiny_run("part", **fields)
    for steps in (3, 6):
        run_training(dataclasses.replace(part, train_steps=steps), "")
    expected, seen = training_metrics(whole.model_dir), training_metrics(part.model_dir)
    assert [row["divergence"] for row in seen] == [row["divergence"] for row in expected]


def test_z_loss_counts_in_on_policy_steps(tiny_run, teachers):
    rows = {}
    for z_loss in (0.0, 0.5):
        run = tiny_run(
            f"z-{z_loss}",
            teacher=LiveTeacher(teachers["same"]),
            loss=DistillationObjective(Distillation(z_loss=z_loss)),
            on_policy=OnPolicy(student_share=1.0, max_new_tokens=6),
            train_steps=1,
            log_period_steps=1,
        )
        run_training(run, "")
        (rows[z_loss],) = training_metrics(run.model_dir)
    assert rows[0.5]["z_loss"] > 0
    np.testing.assert_allclose(rows[0.5]["divergence"], rows[0.0]["divergence"], rtol=1e-6)
    added = rows[0.5]["loss"] - rows[0.0]["loss"]
    np.testing.assert_allclose(added, rows[0.5]["z_loss"], rtol=1e-4)


def test_examples_without_a_row_may_be_left_out(tiny_run, tmp_path):
    write_cache(tmp_path / "cache", 100, every=2)
    join, task = TeacherJoin([str(tmp_path / "cache")]), "addition_direct_with_teacher"
    losses = {}
    for without_teacher in ("cross_entropy", "skip"):
        objective = DistillationObjective(Distillation(without_teacher=without_teacher))
        fields = {"task": task, "objective": objective, "model": STUDENT, "train_steps": 1}
        losses[without_teacher] = distil(tiny_run, without_teacher, join, **fields)[0]
    assert 0 < losses["cross_entropy"]["teacher_share"] < 1
    assert losses["skip"]["teacher_share"] == 1
    # The mean is over what counts: the divergence alone.
    np.testing.assert_allclose(losses["skip"]["loss"], losses["skip"]["divergence"], rtol=1e-5)


def test_caches_that_the_loss_cannot_use_are_refused(tiny_run, tmp_path):
    def run(name, **settings):
        return tiny_run(
            name,
            teacher=TeacherJoin([str(tmp_path / name)]),
            loss=DistillationObjective(Distillation(**settings)),
            mixture_or_task_name="addition_direct_with_teacher",
        )

    write_cache(tmp_path / "warm", 4, temperature=2.0)
    with pytest.raises(UserError, match=r"at temperature 2, but the student's is 1: set DISTILL"):
        run_training(run("warm"), "")
    write_cache(tmp_path / "draws", 4, Sampled(4))
    with pytest.raises(UserError, match=r"draws, .* only forward_kl .* not reverse_kl"):
        run_training(run("draws", divergence="reverse_kl"), "")


def test_a_teachers_padding_rows_beyond_the_students_are_left_out(tiny_run, teachers, capsys):
    narrower = dataclasses.replace(STUDENT, vocab_size=260)
    teacher, objective = LiveTeacher(teachers["same"]), DistillationObjective()
    fields = {"loss": objective, "teacher": teacher, "model": narrower, "log_period_steps": 1}
    run_training(tiny_run(**fields, train_steps=1), "")
    assert "264 entries for tokens, cut to 260" in capsys.readouterr().out


def test_impossible_teachers_are_refused_in_one_line(tiny_run, teachers):
    live, objective = LiveTeacher(teachers["pieces"], vocabulary=PIECES), DistillationObjective()
    with pytest.raises(UserError, match="needs both a teacher and its objective"):
        run_training(tiny_run(teacher=live), "")
    with pytest.raises(UserError, match="needs both a teacher and its objective"):
        run_training(tiny_run(loss=objective), "")
    packed = dataclasses.replace(tiny_run().data, pack=True)
    with pytest.raises(UserError, match=r"another vocabulary .* set PACK=False"):
        run_training(tiny_run(loss=objective, teacher=live, data=packed), "")
    with pytest.raises(UserError, match="whose samples it cannot read"):
        run_training(tiny_run(loss=objective, teacher=live, on_policy=OnPolicy()), "")
    wider = dataclasses.replace(STUDENT, vocab_size=300)
    same = LiveTeacher(teachers["same"])
    with pytest.raises(UserError, match=r"264 logits and the student 300.* VOCAB_SIZE to 264"):
        run_training(tiny_run(loss=objective, teacher=same, model=wider), "")
    with pytest.raises(UserError, match="needs a teacher that scores what the student samples"):
        tiny_run(loss=objective, on_policy=OnPolicy())
    with pytest.raises(UserError, match="SAMPLE_TOKENS is 33, but a row has room for 32 tokens"):
        tiny_run(loss=objective, teacher=same, on_policy=OnPolicy(max_new_tokens=33))
    mixed = DistillationObjective(Distillation(alpha=0.5))
    with pytest.raises(UserError, match=r"ALPHA=0.5: cross-entropy on the student's own samples"):
        tiny_run(loss=mixed, teacher=same, on_policy=OnPolicy())
    smoothed = DistillationObjective(Distillation(label_smoothing=0.1))
    for on_policy in (None, OnPolicy()):
        with pytest.raises(UserError, match=r"LABEL_SMOOTHING=0.1 is of the cross entropy, of"):
            run_training(tiny_run(loss=smoothed, teacher=same, on_policy=on_policy), "")
