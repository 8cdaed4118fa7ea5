"""Measures what a teacher's distributions add to its solutions: students over several seeds.

A teacher learns the embedded word problems, writes solutions, and the right ones are cached. The
same small student then learns from them for equal steps: by cross-entropy, by the 8 most probable
tokens and the mass outside them, by 12 draws a token, and by the whole distributions. Printed for
each: held-out negative log-likelihood and accuracy, means over seeds with 95 % intervals (Student's
t), and the differences from cross-entropy, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TASK = "word_problems_easy_cot_zero_shot"
STUDENT = ["--gin_file=gin_configs/quickstart_student.gin"]
T_QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""97.5 % quantiles of Student's t by number of seeds (degrees of freedom + 1)."""
KINDS = {
    "cross-entropy": None,
    "top 8 + tail": ["ENCODING=topk", "NUM_CANDIDATES=8"],
    "12 draws": ["ENCODING=sampled", "NUM_DRAWS=12"],
    "whole": ["ENCODING=hidden"],
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark distill_quality", description=__doc__)
    parser.add_argument("--directory", default="runs/distill_quality")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=1500)
    parser.add_argument("--teacher", help="the MODEL_DIR of one that is trained already")
    parser.add_argument("--steps", type=int, default=400, help="of a student")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    directory = Path(options.directory)
    teacher = options.teacher or str(directory / "teacher")
    if not options.teacher:
        _train(directory / "teacher", "--gin_file=gin_configs/quickstart.gin")
    samples = _sample(teacher, directory, options.questions)
    results: dict[str, list[dict[str, float]]] = {}
    for kind in options.kinds:
        results[kind] = _students(kind, teacher, samples, directory, options)
    print(
        f"\n{options.seeds} seeds, {options.steps} steps each, right solutions of "
        f"{options.questions:,} questions; {(time.perf_counter() - started) / 60:.0f} min in all"
    )
    _report(results)
    return 0


def _students(
    kind: str, teacher: str, samples: Path, directory: Path, options: argparse.Namespace
) -> list[dict[str, float]]:
    """Trains a student of each seed and returns what it reached."""
    cache = directory / f"cache_{kind.split()[0]}"
    encoding = KINDS[kind]
    _cache(teacher, samples, cache, encoding or ["ENCODING=topk", "NUM_CANDIDATES=8"])
    taught = []
    if encoding is not None:
        taught = [
            "--gin_file=gin_configs/methods/distill.gin",
            f"--gin.TEACHER_CACHE=['{cache}']",
            "--gin.MIXTURE_OR_TASK_NAME='examples_cot_zero_shot_with_teacher'",
        ]
    reached = []
    for seed in range(options.seeds):
        model_dir = directory / f"student_{kind.split()[0]}_{seed}"
        _train(
            model_dir,
            *STUDENT,
            *taught,
            f"--gin.EXAMPLES_FILE='{cache}/examples.jsonl'",
            f"--gin.SEED={seed}",
            f"--gin.TRAIN_STEPS={options.steps}",
            f"--gin.EVAL_PERIOD={options.steps}",
            f"--gin.CHECKPOINT_PERIOD={options.steps}",
        )
        rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").open()]
        reached.append([row for row in rows if row["split"] == f"eval/{TASK}"][-1])
        print(
            f"{kind}, seed {seed}: NLL {reached[-1]['nll_nats']:.4f}, "
            f"accuracy {reached[-1]['accuracy']:.1%}",
            flush=True,
        )
    return reached


def _sample(teacher: str, directory: Path, questions: int) -> Path:
    _run(
        "infer",
        f"MODEL={teacher}",
        f"OUTPUT_DIR={directory / 'samples'}",
        f"MIXTURE_OR_TASK_NAME={TASK}",
        "SPLIT=train",
        f"NUM_EXAMPLES={questions}",
        "MAX_TOKENS=56",
        "BATCH_SIZE=256",
    )
    return directory / "samples" / "samples.jsonl"


def _cache(teacher: str, samples: Path, cache: Path, encoding: Sequence[str]) -> None:
    _run(
        *("cache_teacher", "score", f"MODEL={teacher}", f"SOLUTIONS={samples}"),
        *(f"OUTPUT_DIR={cache}", "ONLY_CORRECT=True", "BATCH_SIZE=64", *encoding),
        "VOCABULARY=asset:word_problems",
    )


def _train(model_dir: Path, *arguments: str) -> None:
    _run("train", f"--gin.MODEL_DIR='{model_dir}'", *arguments)


def _run(name: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"tlm_jax.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _report(results: dict[str, list[dict[str, float]]]) -> None:
    for kind, reached in results.items():
        figures = [
            f"{label} {_interval([row[name] for row in reached], scale, digits)}"
            for name, label, scale, digits in _FIGURES
        ]
        print(f"  {kind:14}{'   '.join(figures)}")
    for kind, other in _DIFFERENCES:
        if kind in results and other in results:
            pairs = list(zip(results[kind], results[other]))
            figures = [
                f"{label} {_interval([a[name] - b[name] for a, b in pairs], scale, digits, '+')}"
                for name, label, scale, digits in _FIGURES
            ]
            print(f"  {kind} less {other}: {'   '.join(figures)}")


_DIFFERENCES = (
    *((kind, "cross-entropy") for kind in KINDS if kind != "cross-entropy"),
    ("12 draws", "whole"),
)
_FIGURES = (("nll_nats", "NLL", 1.0, 4), ("accuracy", "accuracy %", 100.0, 1))


def _interval(values: Sequence[float], scale: float, digits: int, sign: str = "") -> str:
    mean = scale * statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:{sign}.{digits}f}"
    half = scale * T_QUANTILES[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    low, high = mean - half, mean + half
    return f"{mean:{sign}.{digits}f} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"
