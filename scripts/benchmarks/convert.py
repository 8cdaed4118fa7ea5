"""Conversion: peak memory against the largest tensor of a model several times larger, and speed."""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[2]
STEPS = {
    "llama": (("hf", "native"), ("native", "hf"), ("hf", "hf")),
    "t5": (("hf", "t5x"), ("t5x", "hf"), ("t5x", "native")),
}


def main(arguments: Sequence[str]) -> int:
    """Converts a random model there and back, each time in a process of its own."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark convert", description=__doc__)
    parser.add_argument("--family", choices=sorted(STEPS), default="llama")
    parser.add_argument("--layers", type=int, default=16, help="of T5 half of them in the encoder")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=65_536)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--directory", help="where to write; a temporary one by default")
    options = parser.parse_args(arguments)
    if options.directory is not None:
        Path(options.directory).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        directory = Path(scratch)
        tiny = directory / "tiny"
        tiny.mkdir()
        steps = STEPS[options.family]
        _write(tiny / "hf", _config(options.family, 2, 64, 256), options.dtype)
        baseline = max(_convert(tiny, source, target)[0] for source, target in steps)
        config = _config(options.family, options.layers, options.width, options.vocabulary)
        total, largest = _write(directory / "hf", config, options.dtype)
        print(
            f"{total / 1e9:.2f} GB of {options.dtype} parameters, the largest tensor "
            f"{largest / 1e6:,.0f} MB; a process that converts a tiny model peaks at "
            f"{baseline / 1e6:,.0f} MB"
        )
        for source, target in steps:
            peak, seconds = _convert(directory, source, target)
            print(
                f"  {source:>6} to {target:<6} peak {peak / 1e6:6,.0f} MB, "
                f"{(peak - baseline) / 1e6:6,.0f} MB above that "
                f"= {(peak - baseline) / largest:.2f} of the largest tensor; "
                f"{total / seconds / 1e6:,.0f} MB/s",
                flush=True,
            )
    return 0


def _config(family: str, layers: int, width: int, vocabulary: int) -> dict[str, Any]:
    """Returns config.json of a model, with keys and values as wide as the model."""
    if family == "t5":
        return {
            "model_type": "t5",
            "vocab_size": vocabulary,
            "d_model": width,
            "d_kv": 64,
            "d_ff": width * 11 // 4,
            "num_layers": layers // 2,
            "num_decoder_layers": layers // 2,
            "num_heads": width // 64,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        }
    return {
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": width * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
    }


def _write(directory: Path, config: dict[str, Any], dtype: str) -> tuple[int, int]:
    """Writes a random model; returns the bytes of all parameters and of the largest."""
    import jax
    import ml_dtypes

    jax.config.update("jax_platforms", "cpu")
    from tlm_jax import models, trees
    from tlm_jax.checkpoints import families
    from tlm_jax.checkpoints.formats import hugging_face
    from tlm_jax.lazy import Stored

    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    generator = np.random.default_rng(0)

    def values(index):
        shape = [part.stop - part.start for part in index]
        return generator.standard_normal(shape, np.float32).astype(kind)

    family = families.FAMILIES[config["model_type"]]
    model = family.read_config(config)
    unrolled = dataclasses.replace(model, scan_layers=False)
    ours = {
        name: Stored(leaf.shape, kind, values)
        for name, leaf in trees.flatten(models.abstract_params(unrolled)).items()
    }
    hf_tensors = families.export_tensors(family, model, ours)
    directory.mkdir()
    hugging_face.write(directory, config, hf_tensors, written=lambda _: None)
    sizes = [array.nbytes for array in hf_tensors.values()]
    return sum(sizes), max(sizes)


def _convert(directory: Path, source: str, target: str) -> tuple[int, float]:
    """Converts in a process of its own; returns its peak resident bytes, and seconds."""
    # The first of each format is what the next conversion reads.
    destination = directory / target
    if destination.exists():
        destination = directory / f"{source}-{target}"
    command = [sys.executable, "-m", "tlm_jax.convert"]
    log = directory / "log.txt"
    begin = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, directory / source, destination, f"--to={target}"],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(log.read_text())
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, seconds
