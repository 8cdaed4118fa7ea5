"""Start-up: from process start to the first finished step, and from the last line to the end."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STEPS = 6


def main(arguments: Sequence[str]) -> int:
    """Prints seconds for several starts of the tiny run, and the imports that take longest."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark start_up", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted starts, after one warm-up")
    options = parser.parse_args(arguments)
    _start()  # fills the file caches and the compilation cache
    starts = [_start() for _ in range(options.runs)]
    names = ("first line", "first finished step", "last line", "end of process")
    print(f"{STEPS} steps of gin_configs/quickstart.gin, {options.runs} starts, seconds")
    for name, values in zip(names, zip(*(times for times, _ in starts), strict=True), strict=True):
        print(
            f"  {name:<20} median {statistics.median(values):5.2f}  "
            f"min {min(values):5.2f}  max {max(values):5.2f}"
        )
    print(f"  lines printed        {starts[0][1]}")
    _print_imports()
    _print_help()
    return 0


def _command(model_dir: str) -> list[str]:
    bindings = {
        "MODEL_DIR": f'"{model_dir}"',
        "TRAIN_STEPS": str(STEPS),
        "LOG_PERIOD": "1",
        "EVAL_TASKS": "[]",
        "schedules.Cosine.warmup_steps": "1",
    }
    return [
        *(sys.executable, "-m", "tlm_jax.train", "--gin_file=gin_configs/quickstart.gin"),
        *(f"--gin.{name}={value}" for name, value in bindings.items()),
    ]


def _start() -> tuple[tuple[float, ...], int]:
    """Returns the seconds at which things happened, and the number of lines printed."""
    with tempfile.TemporaryDirectory() as model_dir:
        begin = time.perf_counter()
        process = subprocess.Popen(
            _command(model_dir),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        lines = [(time.perf_counter() - begin, line) for line in process.stdout]
        process.wait()
        end = time.perf_counter() - begin
    if process.returncode:
        sys.exit("".join(line for _, line in lines))
    first_step = next(at for at, line in lines if line.startswith(f"step 1/{STEPS}"))
    return (lines[0][0], first_step, lines[-1][0], end), len(lines)


def _print_imports() -> None:
    """Prints the packages whose import takes longest, each with what it imports first."""
    code = "import tlm_jax.runs.training.session"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: dict[str, float] = {}
    for line in result.stderr.splitlines():
        _, cumulative, name = line.removeprefix("import time:").split("|")
        if cumulative.strip().isdigit() and name.startswith(" "):
            seconds[name.strip()] = int(cumulative) / 1e6
    packages = {
        name: value
        for name, value in seconds.items()
        if name.count(".") <= 1 and value >= 0.05 and not name.startswith("_")
    }
    print("imports of a training run, seconds with all that each one is the first to import")
    for name, value in sorted(packages.items(), key=lambda item: -item[1])[:15]:
        print(f"  {name:<36} {value:5.2f}")


def _print_help() -> None:
    for name in ("train", "inspect", "report", "precompile"):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", f"tlm_jax.{name}", "--help"],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        print(f"  python -m tlm_jax.{name} --help: {time.perf_counter() - begin:.2f} s")
