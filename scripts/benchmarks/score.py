"""Times scoring 5 options of each question beside scoring one, contexts of 256 tokens, on a CPU.

Both take turns, so that whatever else the machine does hits both alike. `apart` scores each option
with a context of its own, as without sharing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

SHAPES = ("t5_1_1_small", "llama_58m")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/benchmark score", description=__doc__)
    parser.add_argument("--model", choices=SHAPES, action="append", help="default: both")
    parser.add_argument("--questions", type=int, default=8, help="in a batch")
    parser.add_argument("--options", type=int, default=5)
    parser.add_argument("--context-tokens", type=int, default=256)
    parser.add_argument("--option-tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"
    for name in options.model or SHAPES:
        _time(name, options)
    return 0


def _time(name: str, options: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from tlm_jax import models
    from tlm_jax.scoring.continuations import Scorer
    from tlm_jax.scoring.rows import Request

    config = _config(name)
    params = models.init(jax.random.key(0), config)
    random = np.random.default_rng(0)
    questions = [
        Request(
            random.integers(3, 32000, options.context_tokens),
            [random.integers(3, 32000, options.option_tokens) for _ in range(options.options)],
        )
        for _ in range(options.questions)
    ]
    cases = {
        "one": [Request(q.context, q.continuations[:1]) for q in questions],
        "all": questions,
        "apart": [Request(q.context, [c]) for q in questions for c in q.continuations],
    }
    scorer = Scorer(config, batch_size=options.questions)
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    for turn in range(options.rounds + 1):
        for case, requests in cases.items():
            start = time.perf_counter()
            scorer.score(params, requests)
            if turn:  # the first compiles
                seconds[case].append(time.perf_counter() - start)
    one, together, apart = (statistics.median(seconds[case]) for case in cases)
    print(
        f"{name}: {options.questions} questions of {options.context_tokens} tokens, options of "
        f"{options.option_tokens}; median of {options.rounds}\n"
        f"  one option {one:.2f} s; {options.options} options {together:.2f} s, "
        f"{together / one:.2f} times that; each with its own context {apart:.2f} s, "
        f"{apart / one:.2f} times",
        flush=True,
    )


def _config(name: str):
    from tlm_jax import models

    if name == "t5_1_1_small":
        return models.EncoderDecoderConfig(
            vocab_size=32128,
            embed_dim=512,
            num_encoder_layers=8,
            num_decoder_layers=8,
            num_heads=6,
            head_dim=64,
            mlp_dim=1024,
        )
    return models.DecoderOnlyConfig(
        vocab_size=32000, embed_dim=512, num_layers=8, num_heads=8, head_dim=64, mlp_dim=1376
    )
