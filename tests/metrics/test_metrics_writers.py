"""Metrics survive kills and resumes without loss or repetition, and TensorBoard can read them."""

import errno
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.metrics.writers import MetricsWriter, read_metrics


def rows(model_dir):
    # Strict: every line must be an object.
    return [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]


def test_one_object_a_line(tmp_path):
    writer = MetricsWriter(tmp_path / "run", tensorboard=False)
    writer.write(10, "train", {"loss": np.float32(1.5), "tokens": 3})
    writer.write(10, "eval/addition", {"accuracy": 0.25})
    # Readable before it is closed.
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (
        '{"step": 10, "split": "train", "loss": 1.5, "tokens": 3}\n'
        '{"step": 10, "split": "eval/addition", "accuracy": 0.25}\n'
    )
    writer.close()


def test_not_finite_is_null(tmp_path):
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.write(1, "train", {"loss": float("nan"), "gradient_norm": float("inf")})
    writer.close()
    assert rows(tmp_path) == [{"step": 1, "split": "train", "loss": None, "gradient_norm": None}]


def test_resuming_drops_later_steps_and_a_half_line(tmp_path):
    writer = MetricsWriter(tmp_path, tensorboard=False)
    for step in (10, 20, 30, 40):
        writer.write(step, "train", {"loss": step / 10})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "split": "tr')
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [10, 20, 30, 40]
    writer = MetricsWriter(tmp_path, resumed_step=20, tensorboard=False)
    writer.write(30, "train", {"loss": 7.0})
    writer.close()
    assert [(r["step"], r["loss"]) for r in rows(tmp_path)] == [(10, 1.0), (20, 2.0), (30, 7.0)]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_half_line_within_the_kept_steps_is_repaired(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n{"step": 2')
    writer = MetricsWriter(tmp_path, resumed_step=5, tensorboard=False)
    writer.write(6, "train", {})
    writer.close()
    assert [r["step"] for r in rows(tmp_path)] == [1, 6]


def test_a_new_run_begins_anew(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n')
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.close()
    assert rows(tmp_path) == []


def test_unwritable_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run/metrics\.jsonl cannot be written: Not a dir"):
        MetricsWriter(tmp_path / "file" / "run")


class FullDisk(io.TextIOWrapper):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line(tmp_path):
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.close()
    writer._file = FullDisk(io.BytesIO())
    with pytest.raises(UserError, match=r"metrics.jsonl cannot be written at step 3: No space"):
        writer.write(3, "train", {"loss": 1.0})


READ_EVENTS = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print({tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)]
       for tag in events.Tags()["scalars"]})
"""

WRITE_EVENTS = """
import sys
from tlm_jax.metrics.writers import MetricsWriter
writer = MetricsWriter(sys.argv[1])
for step in (10, 20, 30):
    writer.write(step, "train", {"loss": step / 10})
writer.close()
writer = MetricsWriter(sys.argv[1], resumed_step=20)
writer.write(30, "train", {"loss": 9.0})
writer.write(30, "eval/addition", {"accuracy": 0.5})
writer.close()
assert "tensorflow" not in sys.modules
"""


def test_tensorboard_reads_the_events_without_the_undone_steps(tmp_path):
    # In processes of their own: reading imports TensorFlow, and writing must not.
    written = subprocess.run(
        [sys.executable, "-c", WRITE_EVENTS, tmp_path], capture_output=True, text=True
    )
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    read = subprocess.run(
        [sys.executable, "-c", READ_EVENTS, tmp_path / "tensorboard"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout.splitlines()[-1] == str(
        {
            "train/loss": [(10, 1.0), (20, 2.0), (30, 9.0)],
            "eval/addition/accuracy": [(30, 0.5)],
        }
    )
