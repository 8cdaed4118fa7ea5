"""Losses of random hidden states, fused and not, which scripts/benchmarks/fused.py measures.

As a script it prints the temporary memory of one of them, compiled for another device.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


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


LARGE = Shape(8, 1024, 4096, 4096, 128256, 8, "bfloat16", "float32")


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
            divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
        else:
            logits = Unembedding(rest["teacher_matrix"]).logits(rest["teacher_hidden"])
            log_p = jax.nn.log_softmax(logits)
            log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
            divergence = 0.5 * jnp.sum(
                jnp.exp(log_p) * (log_p - log_m) + jnp.exp(log_q) * (log_q - log_m), axis=-1
            )
        return jnp.mean(0.5 * divergence - 0.5 * own)

    def of_library(hidden, matrix, rest):
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

    return jax.value_and_grad(derived if form == "derived" else of_library, argnums=(0, 1))


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


if __name__ == "__main__":
    print(json.dumps(_compiled_memory(**json.loads(sys.argv[1]))))
