"""Times the train step of T5 1.1 small on this machine's CPU, beside another library's if asked.

The step: float32, Adafactor, dropout off. Both libraries run in processes of their own and take
turns, a step each, so that whatever else the machine does hits both alike; the matrix-product peak
is measured between the steps too. CPU time is what a busy machine distorts least.
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
    parser.add_argument("--peer-python", default=peer_python(), metavar="PATH")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each library")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--inputs", type=int, default=256, help="tokens")
    parser.add_argument("--targets", type=int, default=128, help="tokens")
    options = parser.parse_args(arguments)

    shape = (options.batch, options.inputs, options.targets)
    workers = {"tlm_jax": Worker(sys.executable, "tlm_jax_step.py", options.cores, *shape)}
    if options.vs:
        workers["hf"] = Worker(options.peer_python, "hf_step.py", options.cores, *shape)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    peaks: list[dict[str, float]] = []
    for worker in workers.values():
        worker.ask("step")  # warm-up
    for _ in range(options.steps):
        peaks.append(workers["tlm_jax"].ask("peak"))
        for name, worker in workers.items():
            times[name].append(worker.ask("step"))
    facts = {name: worker.ask("facts") for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    _report(options, times, peaks, facts)
    return 0


def peer_python() -> str:
    """Returns the Python of `scripts/setup peers`, or this one where there is none."""
    peers = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
    return str(peers) if peers.exists() else sys.executable


def _report(
    options: argparse.Namespace,
    times: dict[str, list[dict[str, float]]],
    peaks: list[dict[str, float]],
    facts: dict[str, dict[str, Any]],
) -> None:
    ours = facts["tlm_jax"]
    print(
        f"T5 1.1 small, {ours['parameters'] / 1e6:.0f}M parameters, batch {options.batch}, "
        f"{options.inputs} inputs, {options.targets} targets, {options.cores} cores, "
        f"median of {options.steps} steps"
    )
    for name, steps in times.items():
        seconds = [step["seconds"] for step in steps]
        print(
            f"  {name:8}{statistics.median(seconds):7.2f} s a step "
            f"({min(seconds):.2f} to {max(seconds):.2f}), {_median(steps, 'cpu_seconds'):.2f} s "
            f"of CPU time, {facts[name]['resident_bytes'] / 1e9:.1f} GB resident; "
            f"{facts[name]['describe']}"
        )
    print(f"  model FLOPs {ours['flops'] / 1e9:.0f} G a step; share of the matrix-product peak:")
    for unit, name in (("second", "seconds"), ("cpu_second", "cpu_seconds")):
        rate = ours["flops"] / _median(times["tlm_jax"], name)
        rates = [peak[f"flops_per_{unit}"] for peak in peaks]
        print(
            f"    a {unit.replace('_', ' ').replace('cpu', 'CPU'):11}{rate / 1e9:4.0f} of "
            f"{max(rates) / 1e9:.0f} GFLOP/s: {rate / max(rates):.0%} (of the median peak, "
            f"{statistics.median(rates) / 1e9:.0f}: {rate / statistics.median(rates):.0%})"
        )
    print(f"  XLA temporary memory {ours['temporary_bytes'] / 1e9:.2f} GB")
    if "hf" in times:
        ratios = {
            name: _median(times["tlm_jax"], name) / _median(times["hf"], name)
            for name in ("seconds", "cpu_seconds")
        }
        print(
            f"  tlm_jax takes {ratios['seconds']:.2f} of hf's time, "
            f"{ratios['cpu_seconds']:.2f} of its CPU time"
        )


def _median(answers: list[dict[str, float]], name: str) -> float:
    return statistics.median(answer[name] for answer in answers)


class Worker:
    """A process that does what one line of its input asks, and answers with one line of JSON."""

    def __init__(self, python: str, script: str, cores: int, *shape: int | str):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "OMP_NUM_THREADS": str(cores),
            # On a busy machine torch's threads otherwise spend most of their time spinning.
            "OMP_WAIT_POLICY": "passive",
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
        """Returns the answer to one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"benchmark: a worker ended with status {self._process.wait()}")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
