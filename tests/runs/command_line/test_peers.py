"""Two processes of one run end together: by an error of one, a kill, a signal, and when done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
Two = list["subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Two]]:
    """Returns what starts the tiny run on two processes; those left at the end are killed."""
    started: Two = []

    def start(*bindings: str) -> Two:
        with socket.socket() as listener:
            listener.bind(("localhost", 0))
            port = listener.getsockname()[1]
        command = [sys.executable, "-m", "tlm_jax.train", "--gin_file=tests/tiny_run.gin"]
        command += [f"--gin.{b}" for b in (f"MODEL_DIR='{tmp_path / 'run'}'", *bindings)]
        for index in range(2):
            joined = {
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(index),
            }
            started.append(
                subprocess.Popen(
                    command,
                    cwd=REPOSITORY,
                    env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **joined},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _wait_for_steps(path: Path) -> None:
    deadline = time.monotonic() + 180
    while not (path.is_file() and path.read_text().count("\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_error_of_one_ends_both_and_is_told_by_both(start, tmp_path):
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)
    two = start()
    said = [process.communicate(timeout=180)[0] for process in two]
    assert [process.returncode for process in two] == [1, 1]
    line = f"{tmp_path / 'run' / 'metrics.jsonl'} cannot be written: Is a directory"
    assert said[0].splitlines()[-1] == f"error: {line}"
    assert said[1].splitlines()[-1] == f"error: process 0 of 2 ended: {line}"


@pytest.mark.slow
def test_a_killed_one_is_missed_by_the_other(start, tmp_path):
    first, second = start("TRAIN_STEPS=1000000", "CHECKPOINT_PERIOD=100000")
    _wait_for_steps(tmp_path / "run" / "metrics.jsonl")
    second.kill()
    killed = time.monotonic()
    said = first.communicate(timeout=120)[0]
    assert time.monotonic() - killed < 60
    assert first.returncode == 1
    assert said.splitlines()[-1] == (
        "error: process 1 of 2 has given no sign of life for 30 s: it was killed, or cannot be "
        "reached. Start all processes again: they go on from what is saved."
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_one_stops_both_after_the_same_step(start, tmp_path, number):
    two = start("TRAIN_STEPS=1000000", "CHECKPOINT_PERIOD=100000")
    _wait_for_steps(tmp_path / "run" / "metrics.jsonl")
    two[1].send_signal(number)
    said = [process.communicate(timeout=120)[0].splitlines()[-1] for process in two]
    assert [process.returncode for process in two] == [128 + number] * 2
    assert said[0] == said[1]
    assert said[0].startswith(f"stopped by {number.name} after step ")


@pytest.mark.slow
def test_both_end_well_when_the_work_is_done(start, tmp_path):
    two = start()
    said = [process.communicate(timeout=180)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]
