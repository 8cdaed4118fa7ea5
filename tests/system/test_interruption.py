"""Ctrl-C and SIGTERM are taken whenever they come, and leave nothing torn."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlm_jax import trees
from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained

REPOSITORY = Path(__file__).parents[2]
LINE = "stopped by {}; what was finished is safe, and the same command goes on\n"
WITHIN_SECONDS = 5
MAIN = """
import gc, hashlib, sys, time
from tlm_jax.runs.command_line.configuration import run_main

def main(argv):
    {body}

sys.argv = ["main"]
run_main(main)
"""


def _start(*command: str, **environment: str) -> subprocess.Popen[str]:
    """Starts Python, and returns once it has its handlers of signals."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not _handles(process.pid, signal.SIGTERM):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    return process


def _wait_for_line(process: subprocess.Popen[str]) -> None:
    """Returns when it has printed the line that says that it is where a test wants it."""
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"


def _handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; Python itself has one for SIGINT only."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"SigCgt:\s*([0-9a-f]+)", text)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def _interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    """Sends a signal; returns what the process said, which has to end in time and say which."""
    sent = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out + err
    # Of a machine of its own: with more to do than it has cores, all takes longer.
    share = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert time.monotonic() - sent < WITHIN_SECONDS * share
    return out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "body",
    [
        # Where an exception of a handler is ignored.
        "gc.callbacks.append(lambda *unused: (print(flush=True), time.sleep(0.3)))\n"
        "    while True: gc.collect()",
        "D = type('D', (), {'__del__': lambda self: (print(flush=True), time.sleep(0.3))})\n"
        "    while True: D()",
        # Where handlers of Python are not called at all.
        "print(flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
    ],
    ids=["collector", "finalizer", "C"],
)
def test_a_signal_is_taken_where_python_loses_or_delays_it(body, number):
    process = _start("-c", MAIN.format(body=body))
    _wait_for_line(process)
    _, err = _interrupt(process, number)
    assert err == LINE.format(signal.Signals(number).name)


def test_while_a_run_saves_the_first_signal_is_told_and_the_second_ends_it():
    body = (
        "from tlm_jax.training.stopping import StopRequest\n"
        "    with StopRequest():\n"
        "        print(flush=True)\n"
        "        time.sleep(60)"
    )
    process = _start("-c", MAIN.format(body=body))
    assert process.stderr is not None
    _wait_for_line(process)
    process.send_signal(signal.SIGTERM)
    assert (
        process.stderr.readline() == "SIGTERM: saving after this step; a second one ends at once\n"
    )
    assert process.poll() is None
    assert _interrupt(process) == ("", LINE.format("SIGINT"))


def test_signals_of_a_forked_process_are_its_own():
    body = (
        "import multiprocessing\n"
        "    context = multiprocessing.get_context('fork')\n"
        "    def wait(begun):\n"
        "        begun.set()\n"
        "        time.sleep(60)\n"
        "    begun = [context.Event() for _ in range(2)]\n"
        "    children = [context.Process(target=wait, args=(event,)) for event in begun]\n"
        "    for child, event, number in zip(children, begun, (15, 2)):\n"
        "        child.start()\n"
        "        event.wait()\n"
        "        import os; os.kill(child.pid, number)\n"
        "        child.join(10)\n"
        "    print([child.exitcode for child in children], flush=True)\n"
        "    return 0"
    )
    process = _start("-c", MAIN.format(body=body))
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "[-15, 1]\n")


def test_the_path_to_a_server_needs_no_jax(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "w5"}\n')
    code = (
        "import sys\nfrom tlm_jax import infer\nfrom tlm_jax.errors import UserError\n"
        "try:\n    infer.main(sys.argv[1:])\nexcept UserError as error:\n    print(error)\n"
        "print([m for m in ('jax', 'flax', 'tensorflow', 'seqio') if m in sys.modules])"
    )
    arguments = ["MODEL=openai:http://127.0.0.1:9/v1,m", f"PROMPTS={tmp_path / 'p.jsonl'}"]
    arguments += [f"OUTPUT_DIR={tmp_path / 'out'}", "RETRIES=0"]
    shown = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout
    assert "no connection" in shown
    assert shown.splitlines()[-1] == "[]"


def _train(folder: Path, *settings: str) -> list[str]:
    bindings = [f'MODEL_DIR="{folder}"', "CHECKPOINT_PERIOD=20", *settings]
    flags = [f"--gin.{binding}" for binding in bindings]
    return ["-m", "tlm_jax.train", "--gin_file=tests/tiny_run.gin", *flags]


def _interrupt_training(folder: Path, times: int, longest_seconds: float) -> None:
    """Interrupts a run so often, and compares it with one that never was."""
    chance = random.Random(times)
    run = folder / "run"
    # While a library is loaded from a disk that has not been read yet, no signal is looked at.
    process = _start(*_train(folder / "first", "TRAIN_STEPS=1"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    for _ in range(times):
        process = _start(*_train(run, "TRAIN_STEPS=1000000"))
        time.sleep(chance.uniform(0, longest_seconds))
        out, err = _interrupt(process)
        stopped = re.fullmatch(
            r"(SIGINT: saving after this step; a second one ends at once\n)?"
            r"stopped by SIGINT(?: after step (\d+) of 1000000)?; what was finished is safe, and "
            r"the same command goes on\n",
            err,
        )
        assert stopped, err
        assert bool(stopped[1]) == bool(stopped[2])
        assert "damaged" not in out
        if stopped[2]:
            assert complete_steps(run / "checkpoints")[-1] == int(stopped[2])
    steps = complete_steps(run / "checkpoints")
    last = (steps[-1] if steps else 0) + 2
    for model_dir in (run, folder / "whole"):
        process = _start(*_train(model_dir, f"TRAIN_STEPS={last}"))
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
    one, other = (_parameters(folder / name) for name in ("run", "whole"))
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
    assert _losses(run) == _losses(folder / "whole")


def _parameters(model_dir: Path) -> dict[str, Any]:
    source = open_pretrained(model_dir)
    return trees.flatten(load_params(source, source.config))


def _losses(model_dir: Path) -> list[tuple[int, float]]:
    lines = (model_dir / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def _interrupt_a_server_run(
    folder: Path, url: str, times: int, longest_seconds: float, asked: Callable[[], int]
) -> None:
    """Interrupts a run on a server so often; every sample is there at the end, and once."""
    chance = random.Random(times)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(f'{{"id": "{n}", "prompt": "p{n}"}}\n' for n in range(2000)))
    command = ["-m", "tlm_jax.infer", f"MODEL=openai:{url},tiny", f"PROMPTS={prompts}"]
    command += [f"OUTPUT_DIR={folder / 'out'}", "CONCURRENCY=2"]
    for last in (False,) * times + (True,):
        process = _start(*command)
        time.sleep(chance.uniform(0, longest_seconds))
        while last and not asked():  # on a busy machine none of them may have come so far
            assert process.poll() is None
            time.sleep(0.05)
        _, err = _interrupt(process)
        assert err == LINE.format("SIGINT")
    part = (folder / "out" / "parts" / "host-00000.jsonl").read_text()
    samples = [json.loads(line) for line in part[: part.rfind("\n") + 1].splitlines()]
    assert len({sample["id"] for sample in samples}) == len(samples)
    # What was under way when a signal came is asked again, and nothing else.
    assert len(samples) <= asked() <= len(samples) + 2 * (times + 1)


@pytest.fixture
def slow_server() -> Iterator[Any]:
    """A server that takes its time; only on demand of the tests here."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("remote", REPOSITORY / "tests/remote/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.ScriptedServer()

    def slowly(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        time.sleep(0.1)
        return 200, {}, module.answer(payload["prompt"])

    server.script = slowly
    yield server
    server.close()


def test_interrupted_training_loses_nothing(tmp_path):
    _interrupt_training(tmp_path, times=3, longest_seconds=8)


def test_an_interrupted_server_run_loses_nothing(slow_server, tmp_path):
    requests = slow_server.requests
    _interrupt_a_server_run(tmp_path, slow_server.url, 4, 3, lambda: len(requests))


@pytest.mark.slow
def test_none_of_a_hundred_interrupts_of_training_is_lost(tmp_path):
    _interrupt_training(tmp_path, times=100, longest_seconds=10)


@pytest.mark.slow
def test_none_of_a_hundred_interrupts_of_a_server_run_is_lost(slow_server, tmp_path):
    requests = slow_server.requests
    _interrupt_a_server_run(tmp_path, slow_server.url, 100, 4, lambda: len(requests))
