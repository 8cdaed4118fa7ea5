"""Every setting of distillation with every kind of teacher: honoured, or refused in one line.

The table is in docs/design/distillation.md; what is honoured is in test_distilling_runs.py,
training/test_live_teacher.py and losses/.
"""

import ml_dtypes
import numpy as np
import pytest

from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.losses.distillation import Distillation
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.teacher import open_teacher
from tlm_jax.runs.training.teacher_settings import check_cached, check_live, with_hard_targets
from tlm_jax.teacher_cache import CacheWriter, Header, Hidden, Sampled, StoredUnembedding, TopK
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, TeacherRow
from tlm_jax.teacher_cache.unembedding import write_unembedding
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.vocabularies import ByteVocabulary
from tlm_jax.vocabularies.token_bytes import token_table

BYTES, OTHER = ByteVocabulary(), ByteVocabulary(extra_ids=1)
ENCODINGS = {"topk": TopK(2), "sampled": Sampled(4), "hidden": Hidden()}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Returns a directory a kind of teacher: an encoding, or `mapped` for another vocabulary's."""
    root = tmp_path_factory.mktemp("caches")
    for kind in ("topk", "mapped", "sampled", "sampled mapped", "hidden"):
        table = token_table(OTHER if "mapped" in kind else BYTES)
        encoding = ENCODINGS[kind.replace("mapped", "").strip() or "topk"]
        header = Header("sure", "teacher-1", table.fingerprint, table.size)
        weights = np.ones(1, np.float32)
        steps = StepDistributions(
            np.array([[5, 6]], np.int32),
            np.log(np.array([[0.75, 0.25]], np.float32)),
            np.full(1, -np.inf, np.float32),
            weights,
        )
        if kind == "hidden":
            steps = HiddenSteps(np.ones((1, 4), ml_dtypes.bfloat16), weights)
        with CacheWriter(root / kind, header, encoding=encoding, table=table) as writer:
            writer.write(TeacherRow("0" * 32, "e0", np.array([5], np.int32), steps))
    matrix = np.ones((4, token_table(BYTES).size), np.float32)
    write_unembedding(root / "hidden", StoredUnembedding(matrix))
    return root


def check(caches, kind, join=None, **settings):
    opened = OpenTeacher(TeacherJoin([str(caches / kind)], **(join or {})), BYTES)
    check_cached(opened, Distillation(**settings))


@pytest.mark.parametrize("kind", ["topk", "mapped", "hidden"])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jensen_shannon(0.5)"])
def test_any_divergence_is_learned_by_the_tail(caches, kind, divergence):
    check(caches, kind, divergence=divergence)


@pytest.mark.parametrize("support", ["tail", "unnormalized"])
def test_draws_are_learned_from(caches, support):
    check(caches, "sampled", {"num_candidates": 4}, support=support)


CACHED = [
    ("hidden", {}, {"support": "renormalized"}, "SUPPORT is 'renormalized', .* hidden states"),
    ("hidden", {"num_candidates": 2}, {}, "TEACHER_CANDIDATES is 2, .* holds hidden states"),
    ("hidden", {"hard": "drop"}, {}, "TEACHER_HARD_STEPS is 'drop', .* student's vocabulary"),
    ("topk", {"alignment": "dtw"}, {}, "TEACHER_ALIGNMENT is 'dtw', .* student's vocabulary"),
    ("topk", {"lost_mass": "renormalize"}, {}, "TEACHER_LOST_MASS is 'renormalize', .* leave"),
    ("topk", {"hard": "one_hot"}, {}, "TEACHER_HARD_STEPS is 'one_hot', .* student's vocabulary"),
    ("topk", {}, {"temperature": 2.0}, "at temperature 1, but the student's is 2"),
    ("mapped", {}, {"temperature": 2.0}, "at temperature 1, but the student's is 2"),
    (
        "topk",
        {},
        {"support": "unnormalized", "divergence": "reverse_kl"},
        "SUPPORT='unnormalized' sums over candidates alone, where reverse_kl is least if",
    ),
    (
        "mapped",
        {"lost_mass": "unnormalized"},
        {"divergence": "reverse_kl"},
        "TEACHER_LOST_MASS='unnormalized' leaves no mass outside .*set TEACHER_LOST_MASS='tail'",
    ),
    ("sampled", {}, {"divergence": "reverse_kl"}, "draws, .* only forward_kl .* not reverse_kl"),
    ("sampled", {}, {"support": "renormalized"}, "draws, .* by SUPPORT='renormalized'"),
    ("sampled", {}, {"temperature": 2.0}, "at temperature 1, but the student's is 2"),
    ("sampled", {"num_candidates": 3}, {}, "draws, .* TEACHER_CANDIDATES=3 would leave out"),
    ("sampled mapped", {}, {}, "draws, .* a student of another vocabulary does not learn"),
]


@pytest.mark.parametrize(("kind", "join", "settings", "message"), CACHED)
def test_what_a_cache_cannot_honour_is_refused(caches, kind, join, settings, message):
    with pytest.raises(UserError, match=message):
        check(caches, kind, join, **settings)


@pytest.mark.parametrize(
    ("settings", "hard"),
    [
        ({}, "one_hot"),
        ({"divergence": "jensen_shannon(0.5)"}, "one_hot"),
        ({"divergence": "reverse_kl"}, "drop"),
        ({"divergence": "jensen_shannon(1.0)"}, "drop"),
        ({"support": "renormalized"}, "drop"),
    ],
)
def test_tokens_without_a_counterpart_are_their_own_target_where_that_can_be_learned(
    tiny_run, caches, settings, hard
):
    """A reverse KL to a target of one token is 43 nats where the student holds a half."""
    join, loss = TeacherJoin([str(caches / "mapped")]), Distillation(**settings)
    run = tiny_run(teacher=join, loss=DistillationObjective(loss))
    opened = open_teacher(run)
    assert opened is not None
    assert opened.join == TeacherJoin([str(caches / "mapped")], hard=hard)
    assert with_hard_targets(TeacherJoin(["cache"], hard="drop"), loss).hard == "drop"
    if hard == "drop":
        asked = TeacherJoin([str(caches / "mapped")], hard="one_hot")
        with pytest.raises(UserError, match=r"'one_hot' .* (SUPPORT|DIVERGENCE)=.* set TEACHER_H"):
            open_teacher(tiny_run(teacher=asked, loss=DistillationObjective(loss)))


LENGTHS = {"inputs": 8, "targets": 8}
LIVE = [
    (True, {}, {"support": "renormalized"}, "SUPPORT is 'renormalized', .* leave SUPPORT out"),
    (True, {"num_candidates": 8}, {}, "TEACHER_CANDIDATES is 8, .* the student's vocabulary"),
    (True, {"feature_lengths": LENGTHS}, {}, "TEACHER_FEATURE_LENGTHS is .* leave it out"),
    (
        False,
        {"feature_lengths": {"inputs": 8}},
        {},
        "expected a length for each of inputs, targets",
    ),
    (
        False,
        {},
        {"support": "unnormalized", "divergence": "reverse_kl"},
        "SUPPORT='unnormalized' sums over candidates alone",
    ),
]


@pytest.mark.parametrize(("same", "teacher", "settings", "message"), LIVE)
def test_what_a_live_teacher_cannot_honour_is_refused(same, teacher, settings, message):
    live, loss = LiveTeacher("teacher", **teacher), Distillation(**settings)
    with pytest.raises(UserError, match=message):
        check_live(live, loss, LENGTHS, same_vocabulary=same)


def test_what_a_live_teacher_honours_is_not_refused():
    softer = Distillation(temperature=2.0, divergence="reverse_kl", without_teacher="skip")
    for same in (True, False):
        check_live(LiveTeacher("teacher"), softer, LENGTHS, same_vocabulary=same)
    narrow = LiveTeacher("teacher", num_candidates=8, feature_lengths=LENGTHS)
    check_live(narrow, Distillation(support="renormalized"), LENGTHS, same_vocabulary=False)
    with pytest.raises(UserError, match=r"LiveTeacher.num_candidates is 0: at least 1"):
        LiveTeacher("teacher", num_candidates=0)
