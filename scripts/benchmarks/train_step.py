"""Times the train step of T5 1.1 small on this machine's CPU, beside another library's if asked.

The step: float32, Adafactor, dropout off. Both libraries run in processes of their own and take
turns, a step each, so that whatever else the machine does hits both alike; the matrix-product peak
is measured between the steps too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parent / "workers"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark train_step", description=__doc__)
    parser.add_argument("--vs", choices=["hf"], help="hf: transformers on torch, with AdamW")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each library")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--inputs", type=int, default=256, help="tokens")
    parser.add_argument("--targets", type=int, default=128, help="tokens")
    options = parser.parse_args(arguments)

    shape = (options.batch, options.inputs, options.targets)
    workers = {"tlm_jax": _Worker(sys.executable, "tlm_jax_step.py", options.cores, *shape)}
    if options.vs:
        workers["hf"] = _Worker(options.peer_python, "hf_step.py", options.cores, *shape)
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    peaks: list[float] = []
    for worker in workers.values():
        worker.ask("step")  # warm-up; the first compiled it
    for _ in range(options.steps):
        peaks.append(workers["tlm_jax"].ask("peak")["flops_per_second"])
        for name, worker in workers.items():
            seconds[name].append(worker.ask("step")["seconds"])
    facts = {name: worker.ask("facts") for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    _report(options, seconds, peaks, facts)
    return 0


def _report(
    options: argparse.Namespace,
    seconds: dict[str, list[float]],
    peaks: list[float],
    facts: dict[str, dict[str, Any]],
) -> None:
    median = {name: statistics.median(times) for name, times in seconds.items()}
    ours, flops = facts["tlm_jax"], facts["tlm_jax"]["flops"]
    rate, peak = flops / median["tlm_jax"], max(peaks)
    print(
        f"T5 1.1 small, {ours['parameters'] / 1e6:.0f}M parameters, batch {options.batch}, "
        f"{options.inputs} inputs, {options.targets} targets, {options.cores} cores, "
        f"median of {options.steps} steps"
    )
    for name, times in seconds.items():
        spread = f"{min(times):.2f} to {max(times):.2f}"
        resident = facts[name]["resident_bytes"] / 1e9
        print(
            f"  {name:8} {median[name]:6.2f} s a step ({spread}), {resident:.1f} GB resident, "
            f"{facts[name]['describe']}"
        )
    print(
        f"  model FLOPs  {flops / 1e9:.0f} G a step: {rate / 1e9:.0f} GFLOP/s, "
        f"{rate / peak:.0%} of the best matrix product here ({peak / 1e9:.0f} GFLOP/s; median "
        f"{statistics.median(peaks) / 1e9:.0f})"
    )
    print(f"  XLA temporary memory {ours['temporary_bytes'] / 1e9:.2f} GB")
    if "hf" in median:
        ratios = [a / b for a, b in zip(seconds["tlm_jax"], seconds["hf"])]
        print(
            f"  tlm_jax takes {median['tlm_jax'] / median['hf']:.2f} of hf's time "
            f"(pairs {min(ratios):.2f} to {max(ratios):.2f})"
        )


class _Worker:
    """A process that does what one line of its input asks, and answers with one line of JSON."""

    def __init__(self, python: str, script: str, cores: int, *shape: int):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(cores),
            "OMP_WAIT_POLICY": "passive",  # waiting threads must not take the other's cores
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [python, str(WORKERS / script), str(cores), *map(str, shape)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores]),
        )

    def ask(self, question: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"benchmark: a worker ended with status {self._process.wait()}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
