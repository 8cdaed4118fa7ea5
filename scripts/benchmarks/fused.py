"""Compares losses taken chunk by chunk from hidden states with losses of whole logits.

Without options: time and temporary memory on this CPU at the size of T5 1.1 small's loss, then, by
compiling alone, memory at 8,192 tokens, hidden 4,096, vocabulary 128,256 for this CPU and for a TPU
v5p. With `--device`: time and peak memory of JSD(0.5) and cross entropy on whatever accelerator JAX
sees, at the shape of Liger's benchmark `distill_jsd_loss` (student hidden 2,048, teacher 4,096,
bf16), whose published figures on an H100 are 60.7 ms and 11.1 GB.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parent / "workers"
sys.path.append(str(WORKERS))
from fused_losses import LARGE, Shape, example, loss_function  # noqa: E402

GB = 1e9

SMALL = Shape(8, 128, 512, 512, 32128, 8, "float32", "float32")
LIGER = Shape(8, 1024, 2048, 4096, 128256, 8, "bfloat16", "bfloat16")
# Of hidden states and matrix; the second are a train step's.
DTYPES = (("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16"))
LOSSES = ("cross_entropy", "sparse", "dense")
FORMS = ("fused", "whole", "derived")
DESCRIPTIONS = {
    "cross_entropy": "cross entropy",
    "sparse": "forward KL of 8 candidates and tail, and cross entropy",
    "dense": "JSD(0.5) from a teacher's hidden states, and cross entropy",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark fused", description=__doc__)
    parser.add_argument("--device", action="store_true", help="measure on an accelerator")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--student-hidden", type=int, default=LIGER.hidden)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--only", choices=["time", "memory"])
    parser.add_argument("--topology", default="v5p:1x1x1", help="of the TPU to compile for")
    parser.add_argument("--chunk-tokens", type=int, default=64, help="at the small size")
    parser.add_argument("--large-chunk-tokens", type=int, default=512)
    parser.add_argument(
        "--second-sweep",
        action="store_true",
        help="with --device, compute logits twice rather than keep a float32 sum (less memory)",
    )
    options = parser.parse_args(arguments)
    if options.device:
        return _measure_device(options)
    if options.only != "memory":
        _measure_here(options)
    if options.only != "time":
        _compile_large(options)
    return 0


def _measure_here(options: argparse.Namespace) -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")
    print(
        f"On this CPU: {SMALL.rows * SMALL.length} tokens, hidden {SMALL.hidden}, vocabulary "
        f"{SMALL.vocabulary}, float32, forward and backward, chunks of {options.chunk_tokens} "
        f"tokens, median of {options.repeats} in turns"
    )
    for loss in LOSSES:
        arrays = jax.jit(functools.partial(example, SMALL, loss))()
        compiled = {
            form: jax.jit(loss_function(loss, form, options.chunk_tokens)).lower(*arrays).compile()
            for form in FORMS
        }
        seconds, cpu_seconds = _in_turns(compiled, arrays, options.repeats)
        print(f"  {DESCRIPTIONS[loss]}")
        for form, program in compiled.items():
            memory = program.memory_analysis().temp_size_in_bytes
            print(
                f"    {form:8}{seconds[form] * 1e3:7.0f} ms {cpu_seconds[form] * 1e3:7.0f} ms of "
                f"CPU time {memory / 1e6:8.1f} MB temporary"
            )
        for form in FORMS[1:]:
            memory = [compiled[f].memory_analysis().temp_size_in_bytes for f in ("fused", form)]
            print(
                f"    fused / {form}: {seconds['fused'] / seconds[form]:.2f} of the time, "
                f"{cpu_seconds['fused'] / cpu_seconds[form]:.2f} of the CPU time, "
                f"1/{memory[1] / memory[0]:.1f} of the memory"
            )


def _in_turns(
    compiled: dict[str, Any], arrays: tuple[Any, ...], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the median time and CPU time of each program, run one after the other."""
    import jax

    times: dict[str, list[tuple[float, float]]] = {form: [] for form in compiled}
    for repeat in range(repeats + 1):
        for form, program in compiled.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            jax.block_until_ready(program(*arrays))
            if repeat:  # the first is a warm-up
                times[form].append((time.perf_counter() - start, time.process_time() - cpu_start))
    medians = {form: [statistics.median(x) for x in zip(*taken)] for form, taken in times.items()}
    return {f: m[0] for f, m in medians.items()}, {f: m[1] for f, m in medians.items()}


def _compile_large(options: argparse.Namespace) -> None:
    print(
        f"Compiled alone: {LARGE.rows * LARGE.length} tokens, hidden {LARGE.hidden}, vocabulary "
        f"{LARGE.vocabulary}, forward and backward, chunks of {options.large_chunk_tokens} tokens; "
        "hidden states x matrices"
    )
    for dtypes in DTYPES:
        for platform in ("cpu", options.topology):
            for loss in LOSSES:
                task = {
                    "platform": platform,
                    "loss": loss,
                    "dtypes": dtypes,
                    "chunk_tokens": options.large_chunk_tokens,
                }
                answers = {form: _ask_worker({**task, "form": form}) for form in FORMS}
                fused = answers["fused"]["bytes"]
                hidden, matrix = dtypes
                print(f"  {platform:11} {hidden:8} x {matrix:8} {loss:13}", end="")
                for form, answer in answers.items():
                    size = answer["bytes"]
                    text = f"{size / GB:.2f} GB" if size else answer["error"]
                    ratio = f" (1/{size / fused:.1f})" if size and fused and form != "fused" else ""
                    print(f"  {form} {text}{ratio}", end="")
                print(flush=True)


def _ask_worker(task: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, str(WORKERS / "fused_losses.py"), json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"benchmark: a worker failed: {done.stderr[-2000:]}")
    return json.loads(lines[-1])


def _measure_device(options: argparse.Namespace) -> int:
    import jax

    device = jax.devices()[0]
    shape = LIGER._replace(hidden=options.student_hidden)
    print(
        f"{device.device_kind}, jax {jax.__version__}: {DESCRIPTIONS['dense']}, "
        f"{shape.rows * shape.length} tokens, student hidden {shape.hidden}, teacher hidden "
        f"{shape.teacher_hidden}, vocabulary {shape.vocabulary}, {shape.matrix_dtype}, forward and "
        f"backward, median of {options.repeats}",
        flush=True,
    )
    arrays = jax.jit(functools.partial(example, shape, "dense"))()
    jax.block_until_ready(arrays)
    # Ascending, because the peak is that of the process so far.
    for chunk_tokens in sorted(options.chunks):
        function = loss_function("dense", "fused", chunk_tokens, second_sweep=options.second_sweep)
        program = jax.jit(function).lower(*arrays).compile()
        times, _ = _in_turns({"fused": program}, arrays, options.repeats)
        memory = program.memory_analysis()
        planned = (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )
        peak = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
        print(
            f"  chunks of {chunk_tokens:5} tokens: {times['fused'] * 1e3:7.1f} ms, "
            f"{planned / GB:.2f} GB for arguments, results and temporaries "
            f"({memory.temp_size_in_bytes / GB:.2f} temporary), peak so far {peak / GB:.2f} GB",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
