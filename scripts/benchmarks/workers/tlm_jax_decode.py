"""Our generation for the decode benchmark; answers in JSON.

tlm_jax_decode.py CORES write MODEL DIRECTORY     makes weights, in our own format
tlm_jax_decode.py CORES run DIRECTORY NEW         answers with times
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints.formats import native
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sampling
from tlm_jax.lazy import in_memory

MODELS = {
    "t5": models.EncoderDecoderConfig(
        vocab_size=32128,
        embed_dim=512,
        num_heads=6,
        head_dim=64,
        mlp_dim=1024,
        num_encoder_layers=8,
        num_decoder_layers=8,
    ),
    "llama": models.DecoderOnlyConfig(
        vocab_size=32000, embed_dim=512, num_heads=8, head_dim=64, mlp_dim=1376, num_layers=8
    ),
}


def write(model: str, directory: str) -> None:
    """Writes a model with T5X's initial parameters."""
    params = models.init(jax.random.key(0), MODELS[model])
    arrays = {name: in_memory(np.asarray(leaf)) for name, leaf in trees.flatten(params).items()}
    Path(directory).mkdir(parents=True)
    native.write(Path(directory), MODELS[model], arrays, None, written=lambda _: None)
    print(json.dumps({"written": directory}), flush=True)


def run(directory: str, new: str) -> None:
    """Answers one question a line: the name of a case, or `ids`."""
    source = open_pretrained(Path(directory) / "native")
    params = load_params(source, source.config, announce=lambda line: None)
    prompts = json.loads((Path(directory) / "prompts.json").read_text())
    cases = {
        "greedy": (8, [_request(row, text, 1, 0.0, new) for row, text in enumerate(prompts)]),
        "shared": (16, [_request(row, text, 8, 1.0, new) for row, text in enumerate(prompts[:2])]),
        "forty": (40, [_request(0, prompts[0], 40, 1.0, new)]),
        "rows": (40, [_request(0, prompts[0][:1], 40, 1.0, new)]),
    }
    engines: dict[int, Engine] = {}
    for line in sys.stdin:
        case = line.strip()
        rows, requests = cases["greedy" if case == "ids" else case]
        if rows not in engines:
            engines[rows] = Engine(
                params, source.config, rows=rows, eos_ids=(), steps_per_call=int(new)
            )
        start, cpu_start = time.perf_counter(), time.process_time()
        samples = list(engines[rows].run(requests))
        answer: dict[str, object] = {
            "tokens": sum(len(sample.tokens) for sample in samples),
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
        if case == "ids":
            samples.sort(key=lambda sample: sample.request_id)
            answer["ids"] = [sample.tokens for sample in samples]
        print(json.dumps(answer), flush=True)


def _request(number: int, prompt: list[int], samples: int, temperature: float, new: str) -> Request:
    sampling = Sampling(max_new_tokens=int(new), temperature=temperature)
    return Request(id=number, prompt=prompt, seeds=range(samples), sampling=sampling)


if __name__ == "__main__":
    # The first argument, a number of cores: XLA takes those that the process may run on.
    {"write": write, "run": run}[sys.argv[2]](*sys.argv[3:])
