"""This library's train step for the train_step benchmark; reads questions, answers in JSON."""

import json
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from tlm_jax import models
from tlm_jax.optim.optimizers import Adafactor, make_optimizer
from tlm_jax.optim.schedules import InverseSquareRoot
from tlm_jax.training.host_memory import keep_freed_memory
from tlm_jax.training.objectives import CrossEntropy, ObjectiveContext
from tlm_jax.training.state import initial_state
from tlm_jax.training.step import make_train_step

CONFIG = models.EncoderDecoderConfig(
    vocab_size=32128,
    embed_dim=512,
    num_encoder_layers=8,
    num_decoder_layers=8,
    num_heads=6,
    head_dim=64,
    mlp_dim=1024,
    remat_policy="minimal",
)
PEAK_SIZE = 3072


def main(rows: int, inputs: int, targets: int) -> None:
    keep_freed_memory()
    batch = make_batch(rows, inputs, targets)
    optimizer_config = Adafactor(InverseSquareRoot())
    optimizer = make_optimizer(optimizer_config, models.logical_axes(CONFIG))
    state = jax.jit(
        lambda: initial_state(lambda rng: models.init(rng, CONFIG), optimizer, seed=0)
    )()
    objective = CrossEntropy().objective(ObjectiveContext(CONFIG))
    step = make_train_step(objective, optimizer, optimizer_config.learning_rate)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    facts = {
        "describe": f"jax {jax.__version__}, Adafactor",
        "flops": models.train_flops(CONFIG, batch),
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }
    for line in sys.stdin:
        question = line.strip()
        if question == "step":
            start, cpu_start = time.perf_counter(), time.process_time()
            state, metrics = compiled(state, batch)
            jax.block_until_ready((state, metrics))
            answer = {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu_start,
            }
        elif question == "peak":
            answer = matrix_product_rate()
        else:
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answer = {**facts, "resident_bytes": resident}
        print(json.dumps(answer), flush=True)


def make_batch(rows: int, inputs: int, targets: int) -> dict[str, jax.Array]:
    """Random tokens without padding."""
    random = np.random.default_rng(0)
    target = random.integers(2, 32000, (rows, targets), dtype=np.int32)
    return {
        "encoder_input_tokens": jnp.asarray(random.integers(2, 32000, (rows, inputs), np.int32)),
        "decoder_target_tokens": jnp.asarray(target),
        "decoder_input_tokens": jnp.asarray(np.pad(target[:, :-1], ((0, 0), (1, 0)))),
        "decoder_loss_weights": jnp.ones((rows, targets), jnp.float32),
    }


@jax.jit
def _product(a: jax.Array) -> jax.Array:
    return a @ a


def matrix_product_rate() -> dict[str, float]:
    """FLOP/s of a square float32 product, the best of three, and FLOP per second of CPU time."""
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    jax.block_until_ready(_product(a))
    seconds, cpu_seconds = [], []
    for _ in range(3):
        start, cpu_start = time.perf_counter(), time.process_time()
        jax.block_until_ready(_product(a))
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    flops = 2 * PEAK_SIZE**3
    return {
        "flops_per_second": flops / min(seconds),
        "flops_per_cpu_second": flops / min(cpu_seconds),
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[2:]))
