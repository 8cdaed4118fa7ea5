"""`python -m tlm_jax.train` as a user meets it: a process that prints, stops and goes on."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.pretrained import open_pretrained

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def start(start_training, tmp_path):
    """Returns a function that starts the tiny run in `tmp_path/run` with further bindings."""

    def start(*bindings: str, flags: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        model_dir = f'MODEL_DIR="{tmp_path / "run"}"'
        return start_training(*(f"--gin.{binding}" for binding in (model_dir, *bindings)), *flags)

    return start


def _wait_for_step(path: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Returns when the metrics show `step`, which is earlier than its checkpoint is complete."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and re.search(r'"step": (\d+)', path.read_text()):
            steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
            if steps and max(steps) >= step:
                return
        time.sleep(0.02)
    pytest.fail(f"step {step} never came: {process.communicate()[0]}")


def test_six_steps_print_a_screenful(start):
    process = start()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    lines = output.splitlines()
    assert len(lines) <= 24, output
    assert [line for line in lines if line.startswith("step 6/6")]
    assert "report" in output


def test_user_error_is_one_line_and_status_1(start):
    process = start("TRAIN_STEP=5")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == (
        "error: --gin.TRAIN_STEP is set but nothing uses it. Did you mean 'TRAIN_STEPS'?\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_the_next_run_goes_on(start, tmp_path, number):
    process = start("TRAIN_STEPS=1000000")
    _wait_for_step(tmp_path / "run/metrics.jsonl", 4, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    stopped = re.search(rf"stopped by {number.name} after step (\d+)", output)
    assert stopped, output
    stopped_at = int(stopped[1])
    assert complete_steps(tmp_path / "run/checkpoints") == [stopped_at]

    output, _ = start(f"TRAIN_STEPS={stopped_at + 2}").communicate(timeout=120)
    assert f"going on from checkpoint {stopped_at}" in output
    assert f"step {stopped_at + 2}/{stopped_at + 2}" in output or stopped_at % 2


@pytest.mark.slow
def test_kill_at_any_moment_loses_at_most_the_steps_since_a_checkpoint(start, tmp_path):
    metrics, checkpoints = tmp_path / "run/metrics.jsonl", tmp_path / "run/checkpoints"
    chance = random.Random(0)
    step = 0
    for _ in range(8):
        process = start("TRAIN_STEPS=1000000", "CHECKPOINT_PERIOD=10")
        # Not by the metrics: until the run has begun they are those of the one killed before.
        deadline = time.monotonic() + 120
        while max(complete_steps(checkpoints), default=0) <= step:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.communicate()
        steps = complete_steps(checkpoints)
        written = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
        # One checkpoint may have been under way when the next ten steps were taken.
        assert max(written) - steps[-1] <= 20
        open_pretrained(checkpoints)
        step = steps[-1]


def test_dry_run_prints_the_whole_configuration(start):
    process = start(flags=("--dry_run",))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "BATCH_SIZE = 4" in output
    assert "models.EncoderDecoderConfig.embed_dim = 16" in output


def test_help_needs_neither_jax_nor_tensorflow():
    code = (
        "import sys\nfrom tlm_jax import train\n"
        "try:\n    train.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('jax', 'flax', 'tensorflow', 'seqio') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert "--gin_file" in output
    assert output.splitlines()[-1] == "[]"
