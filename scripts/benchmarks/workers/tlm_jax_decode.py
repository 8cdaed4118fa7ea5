"""Our generation for the decode benchmark; answers in JSON."""

import json
import sys
import time

import jax
import numpy as np

from tlm_jax import models
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sampling


def main(cores: str, model: str, prompt: str, new: str) -> None:
    del cores  # XLA takes those that the process may run on
    if model == "t5":
        config = models.EncoderDecoderConfig(
            vocab_size=32128,
            embed_dim=512,
            num_heads=6,
            head_dim=64,
            mlp_dim=1024,
            num_encoder_layers=8,
            num_decoder_layers=8,
        )
    else:
        config = models.DecoderOnlyConfig(
            vocab_size=32000, embed_dim=512, num_heads=8, head_dim=64, mlp_dim=1376, num_layers=8
        )
    params = models.init(jax.random.key(0), config)
    tokens = np.random.default_rng(0).integers(2, 32000, (8, int(prompt))).tolist()
    cases = {
        "greedy": (8, [_request(row, text, [0], 0.0, new) for row, text in enumerate(tokens)]),
        "shared": (
            16,
            [_request(row, text, range(8), 1.0, new) for row, text in enumerate(tokens[:2])],
        ),
    }
    engines = {
        case: Engine(params, config, rows=rows, eos_ids=(), steps_per_call=64)
        for case, (rows, _) in cases.items()
    }
    for line in sys.stdin:
        case = line.strip()
        start, cpu_start = time.perf_counter(), time.process_time()
        made = sum(len(sample.tokens) for sample in engines[case].run(cases[case][1]))
        answer = {
            "tokens": made,
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
        print(json.dumps(answer), flush=True)


def _request(
    number: int, prompt: list[int], seeds: range | list[int], temperature: float, new: str
) -> Request:
    sampling = Sampling(max_new_tokens=int(new), temperature=temperature)
    return Request(id=number, prompt=prompt, seeds=seeds, sampling=sampling)


if __name__ == "__main__":
    main(*sys.argv[1:])
