"""A run goes on with the live teacher that it had, wherever that lies now, and with no other."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training
from tlm_jax.training.distillation import DistillationObjective

TEXT = "# what config.gin will hold\n"


def test_a_run_goes_on_with_the_live_teacher_that_it_had(tiny_run):
    one, other = tiny_run("one", train_steps=1), tiny_run("other", train_steps=1, seed=1)
    for run in (one, other):
        run_training(run, TEXT)
    student = tiny_run(
        "student",
        loss=DistillationObjective(),
        teacher=LiveTeacher(one.model_dir),
        train_steps=1,
    )
    run_training(student, TEXT)
    manifest = json.loads(Path(student.model_dir, "checkpoints/1/manifest.json").read_text())
    assert manifest["teacher"]["origin"] == f"{one.model_dir}, step 1"

    moved = Path(one.model_dir).with_name("moved")
    shutil.move(one.model_dir, moved)
    longer = dataclasses.replace(student, train_steps=2, teacher=LiveTeacher(str(moved)))
    assert run_training(longer, TEXT) == 2

    # Trained again to as many steps, it lies where the first one was.
    shutil.move(other.model_dir, one.model_dir)
    again = dataclasses.replace(student, train_steps=3)
    expected = (
        f"checkpoint .*/checkpoints/2 learnt from the live teacher {re.escape(str(moved))}, step "
        rf"1 \(fingerprint \w{{16}}\), but this run's, {re.escape(one.model_dir)}, step 1, is "
        r"another model \(fingerprint \w{16}\)\. Set TEACHER_PATH to the former, or"
    )
    with pytest.raises(UserError, match=expected):
        run_training(again, TEXT)
    # A refused run leaves the checkpoints to others.
    assert run_training(dataclasses.replace(longer, train_steps=3), TEXT) == 3
