"""Times a step of cached distillation beside the same student's plain cross-entropy step.

T5 1.1 small, float32, Adafactor, one batch for both; the teacher's candidates are in the batch, as
a cache gives them. The two steps take turns in one process, so that whatever else the machine does
hits both alike; the ratio of a pair is what is reported. Temporary memory is XLA's own account.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlm_jax import models
from tlm_jax.losses.distillation import Distillation
from tlm_jax.optim.optimizers import Adafactor, make_optimizer
from tlm_jax.optim.schedules import InverseSquareRoot
from tlm_jax.training import distillation
from tlm_jax.training.host_memory import keep_freed_memory
from tlm_jax.training.objectives import CrossEntropy, ObjectiveContext
from tlm_jax.training.state import initial_state
from tlm_jax.training.step import make_train_step

sys.path.append(str(Path(__file__).parent / "workers"))
from tlm_jax_step import CONFIG, make_batch


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark distill", description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each kind")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--inputs", type=int, default=256, help="tokens")
    parser.add_argument("--targets", type=int, default=128, help="tokens")
    parser.add_argument("--candidates", type=int, default=8, help="of the teacher, a token")
    parser.add_argument("--divergence", default="forward_kl")
    parser.add_argument("--alpha", type=float, default=1.0, help="the divergence's share")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    keep_freed_memory()

    batch = make_batch(options.batch, options.inputs, options.targets)
    context = ObjectiveContext(CONFIG)
    plain = CrossEntropy(z_loss=0.0).objective(context)
    settings = Distillation(divergence=options.divergence, alpha=options.alpha)
    taught = distillation.DistillationObjective(settings).objective(context)
    steps = {
        "cross-entropy": _Step(plain, batch, lambda frozen, params: params),
        "distillation": _Step(
            taught,
            batch | _teacher(batch, options.candidates),
            lambda frozen, params: distillation.StudentAndTeacher(params, frozen),
        ),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(options.steps + 1):
        for name in steps if turn % 2 else reversed(steps):
            answer = steps[name].run()
            if turn:
                times[name].append(answer)
    _report(options, steps, times)
    return 0


class _Step:
    """A compiled step and its state."""

    def __init__(self, objective: Any, batch: dict[str, jax.Array], whole: Any):
        optimizer_config = Adafactor(InverseSquareRoot())
        optimizer = make_optimizer(optimizer_config, models.logical_axes(CONFIG))
        make = jax.jit(lambda: initial_state(lambda r: models.init(r, CONFIG), optimizer, seed=0))
        step = make_train_step(objective, optimizer, optimizer_config.learning_rate, whole=whole)
        self._state, self._batch = make(), batch
        self._compiled = jax.jit(step, donate_argnums=0).lower(self._state, batch).compile()
        self.temporary_bytes = self._compiled.memory_analysis().temp_size_in_bytes

    def run(self) -> tuple[float, float]:
        """Takes a step; returns its seconds, and those of CPU time."""
        start, cpu_start = time.perf_counter(), time.process_time()
        self._state, metrics = self._compiled(self._state, self._batch)
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - start, time.process_time() - cpu_start


def _teacher(batch: dict[str, jax.Array], candidates: int) -> dict[str, jax.Array]:
    """Returns random candidates that hold 95 % of the mass."""
    shape = (*batch["decoder_target_tokens"].shape, candidates)
    random = np.random.default_rng(1)
    masses = 0.95 * random.dirichlet(np.full(candidates, 0.3), shape[:2])
    masses = -np.sort(-np.maximum(masses, 1e-7), axis=-1)
    # Distinct within a step: a random start, then odd strides through the vocabulary.
    start = random.integers(2, 32000, shape[:2])[..., None]
    ids = 2 + (start + 4001 * np.arange(candidates)) % 31998
    return {
        "teacher_token_ids": jnp.asarray(ids, jnp.int32),
        "teacher_logprobs": jnp.asarray(np.log(masses), jnp.float32),
        "teacher_tail_logprobs": jnp.asarray(np.log(1 - masses.sum(-1)), jnp.float32),
        "teacher_weights": jnp.ones(shape[:2], jnp.float32),
    }


def _report(options: argparse.Namespace, steps: dict[str, _Step], times: dict[str, Any]) -> None:
    print(
        f"T5 1.1 small, batch {options.batch} x ({options.inputs} + {options.targets}), "
        f"{options.candidates} candidates, {options.divergence}, alpha {options.alpha:g}, "
        f"{options.cores} cores, {options.steps} steps of each in turn"
    )
    for name, taken in times.items():
        seconds, cpu_seconds = zip(*taken)
        print(
            f"  {name:14}{statistics.median(seconds):6.2f} s a step "
            f"({min(seconds):.2f} to {max(seconds):.2f}), "
            f"{statistics.median(cpu_seconds):.2f} s of CPU time, "
            f"{steps[name].temporary_bytes / 1e6:,.0f} MB temporary"
        )
    plain, taught = times["cross-entropy"], times["distillation"]
    for unit, number in (("time", 0), ("CPU time", 1)):
        ratios = [b[number] / a[number] for a, b in zip(plain, taught)]
        low, high = np.quantile(ratios, [0.25, 0.75])
        print(
            f"  distillation / cross-entropy by {unit}: median {statistics.median(ratios):.3f} "
            f"(quartiles {low:.3f} to {high:.3f})"
        )
    memory = steps["distillation"].temporary_bytes / steps["cross-entropy"].temporary_bytes
    print(f"  by temporary memory: {memory:.3f}")
