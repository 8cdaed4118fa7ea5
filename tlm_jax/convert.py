"""Converts a model between formats: `python -m tlm_jax.convert SRC DST --to=native|hf|t5x`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from tlm_jax.runs.command_line.arguments import Parser


def main(argv: Sequence[str]) -> int:
    """Parses the command line, converts, and prints where the result is."""
    arguments = parser().parse(argv)

    # After parsing, so that --help is quick.
    import jax
    import numpy as np

    from tlm_jax.checkpoints.conversion import convert
    from tlm_jax.checkpoints.pretrained import open_pretrained
    from tlm_jax.metrics.byte_progress import ByteProgress
    from tlm_jax.system.home import expanded

    # Only shapes are asked of JAX: no accelerator's memory is taken for that.
    jax.config.update("jax_platforms", "cpu")
    source = open_pretrained(arguments.source, arguments.source_format)
    print(f"reading {source.path} ({source.source_format})", flush=True)
    with ByteProgress() as progress:
        done = convert(
            source,
            expanded(arguments.destination),
            arguments.to,
            dtype=None if arguments.dtype is None else np.dtype(_dtype(arguments.dtype)),
            shard_bytes=round(arguments.shard_gb * 1e9),
            scan_layers=None if arguments.layers is None else arguments.layers == "stacked",
            written=progress.update,
        )
    print(
        f"wrote {done.architecture}, {done.num_params:,} parameters, {done.num_bytes / 1e9:,.2f} "
        f"GB, to {arguments.destination} ({arguments.to}); checksums are in conversion.json"
    )
    for note in done.notes:
        print(note)
    return 0


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "convert",
        "Convert a model between formats, block by block: memory does not grow with the model. "
        "Reads Hugging Face directories, T5X checkpoints, GGUF files of Llama architecture, and "
        "our own; the format is recognised from the files.",
        examples=(
            "convert runs/student student-hf --to=hf",
            "convert checkpoint_1000000 flan-t5 --from=t5x --to=native --dtype=bfloat16",
        ),
    )
    result.add_argument("source", metavar="SRC", help="a file or directory")
    result.add_argument("destination", metavar="DST", help="a directory to make")
    result.add_argument("--to", required=True, metavar="FORMAT", help="native, hf or t5x")
    result.add_argument(
        "--from", dest="source_format", metavar="FORMAT", help="hf, t5x, gguf or native"
    )
    result.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="type of the parameters written; as they are by default",
    )
    result.add_argument(
        "--shard_gb",
        type=_gigabytes,
        default=5.0,
        metavar="GB",
        help="largest safetensors file (default: 5)",
    )
    result.add_argument(
        "--layers",
        choices=("stacked", "separate"),
        help="native and t5x: layers stacked for nn.scan, or layers_0, layers_1, ...; by default "
        "native is stacked, and t5x as the T5X model that fits",
    )
    return result


def _gigabytes(text: str) -> float:
    """Reads a number above 0; argparse words the refusal."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of gigabytes above 0")
    return number


def _dtype(name: str):
    import ml_dtypes

    return ml_dtypes.bfloat16 if name == "bfloat16" else name


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main
    from tlm_jax.training.host_memory import return_freed_memory

    return_freed_memory()
    run_main(main)
