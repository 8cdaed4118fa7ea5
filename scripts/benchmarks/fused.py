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
from collections.abc import Callable
from typing import Any, NamedTuple

GB = 1e9


class Shape(NamedTuple):
    """What a loss is taken of."""

    rows: int
    length: int
    hidden: int
    teacher_hidden: int
    vocabulary: int
    candidates: int
    hidden_dtype: str
    matrix_dtype: str


SMALL = Shape(8, 128, 512, 512, 32128, 8, "float32", "float32")
LARGE = Shape(8, 1024, 4096, 4096, 128256, 8, "bfloat16", "float32")
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
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(_compiled_memory(**json.loads(options.worker))))
        return 0
    if options.device:
        return _measure_device(options)
    if options.only != "memory":
        _measure_here(options)
    if options.only != "time":
        _compile_large(options)
    return 0


def loss_function(
    loss: str, form: str, chunk_tokens: int, *, second_sweep: bool = True
) -> Callable[..., Any]:
    """Returns the mean loss as a function of (student hidden, student matrix, the rest).

    `fused` is chunk by chunk; `whole` has the logits of all tokens and the same written-out
    gradients; `derived` has them too and leaves the gradient to JAX, as is usual.
    """
    import jax
    import jax.numpy as jnp

    from tlm_jax.losses import fused
    from tlm_jax.losses.cross_entropy import cross_entropy
    from tlm_jax.losses.distillation import Distillation, distillation_loss
    from tlm_jax.losses.teachers import DenseTeacher, SparseTeacher
    from tlm_jax.types import Unembedding

    kind = "forward_kl" if loss == "sparse" else "jensen_shannon(0.5)"
    settings = Distillation(divergence=kind, alpha=0.5)

    def derived(hidden, matrix, rest):
        log_q = jax.nn.log_softmax(Unembedding(matrix).logits(hidden))
        own = jnp.take_along_axis(log_q, rest["targets"][..., None], axis=-1)[..., 0]
        if loss == "cross_entropy":
            return -jnp.mean(own)
        if loss == "sparse":
            log_q = jnp.take_along_axis(log_q, rest["ids"], axis=-1)
            tail = jnp.log1p(-jnp.sum(jnp.exp(log_q), axis=-1))
            log_q = jnp.concatenate([log_q, tail[..., None]], axis=-1)
            log_p = jnp.concatenate([rest["logprobs"], rest["tail"][..., None]], axis=-1)
            apart = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
        else:
            logits = Unembedding(rest["teacher_matrix"]).logits(rest["teacher_hidden"])
            log_p = jax.nn.log_softmax(logits)
            log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
            apart = 0.5 * jnp.sum(
                jnp.exp(log_p) * (log_p - log_m) + jnp.exp(log_q) * (log_q - log_m), axis=-1
            )
        return jnp.mean(0.5 * apart - 0.5 * own)

    def ours(hidden, matrix, rest):
        head = Unembedding(matrix)
        ones = jnp.ones(rest["targets"].shape)
        if loss == "cross_entropy":
            if form == "fused":
                output = fused.cross_entropy_from_hidden(
                    hidden,
                    head,
                    rest["targets"],
                    ones,
                    chunk_tokens=chunk_tokens,
                    second_sweep=second_sweep,
                )
            else:
                output = cross_entropy(head.logits(hidden), rest["targets"], ones)
            return output.loss.mean()
        if loss == "sparse":
            teacher = SparseTeacher(rest["ids"], rest["logprobs"], rest["tail"], ones)
        else:
            teacher_head = Unembedding(rest["teacher_matrix"])
            teacher = DenseTeacher(rest["teacher_hidden"], teacher_head, ones)
        if form == "fused":
            output = fused.distillation_from_hidden(
                hidden,
                head,
                rest["targets"],
                ones,
                teacher,
                settings,
                chunk_tokens=chunk_tokens,
                second_sweep=second_sweep,
            )
        else:
            logits = head.logits(hidden)
            output = distillation_loss(logits, rest["targets"], ones, teacher, settings)
        return output.loss.mean()

    return jax.value_and_grad(derived if form == "derived" else ours, argnums=(0, 1))


def example(shape: Shape, loss: str) -> tuple[Any, ...]:
    """Returns random hidden states, matrix, and what the loss needs beside them."""
    import jax
    import jax.numpy as jnp

    tokens = (shape.rows, shape.length)
    keys = jax.random.split(jax.random.key(0), 7)

    def normal(key, *sizes):
        return jax.random.normal(key, sizes, shape.hidden_dtype)

    def random_matrix(key, rows):
        drawn = jax.random.normal(key, (rows, shape.vocabulary), shape.matrix_dtype)
        return drawn * rows**-0.5

    matrix = random_matrix(keys[1], shape.hidden)
    rest = {"targets": jax.random.randint(keys[2], tokens, 0, shape.vocabulary)}
    if loss == "sparse":
        # Distinct candidates: one of each of C equal parts of the vocabulary.
        part = shape.vocabulary // shape.candidates
        ids = jax.random.randint(keys[3], (*tokens, shape.candidates), 0, part)
        rest["ids"] = ids + part * jnp.arange(shape.candidates)[None, None]
        scores = jax.random.normal(keys[4], (*tokens, shape.candidates + 1))
        rest["logprobs"], rest["tail"] = jnp.split(
            jax.nn.log_softmax(scores), [shape.candidates], axis=-1
        )
        rest["tail"] = rest["tail"][..., 0]
    if loss == "dense":
        rest["teacher_hidden"] = normal(keys[5], *tokens, shape.teacher_hidden)
        rest["teacher_matrix"] = random_matrix(keys[6], shape.teacher_hidden)
    return normal(keys[0], *tokens, shape.hidden), matrix, rest


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
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"benchmark: a worker failed: {done.stderr[-2000:]}")
    return json.loads(lines[-1])


def _compiled_memory(
    platform: str, loss: str, form: str, dtypes: tuple[str, str], chunk_tokens: int
) -> dict[str, Any]:
    """Returns the temporary bytes of the large shape's program, compiled for one device."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    shape = LARGE._replace(hidden_dtype=dtypes[0], matrix_dtype=dtypes[1])
    arrays = jax.eval_shape(functools.partial(example, shape, loss))
    if platform != "cpu":
        from tlm_jax.sharding.tpu_topology import tpu_topology

        device = jax.sharding.SingleDeviceSharding(tpu_topology(platform).devices[0])
        arrays = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), arrays
        )
    lowered = jax.jit(loss_function(loss, form, chunk_tokens)).lower(*arrays)
    try:
        memory = lowered.compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        return {"bytes": 0, "error": " ".join(str(error).split())[:150]}
    return {"bytes": memory.temp_size_in_bytes}


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
