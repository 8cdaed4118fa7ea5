"""Times tokenizing, packing and the pipeline on real rows, beside SeqIO's own packing.

Rows are GSM8K with chain of thought (zero-shot) where a data directory is named, else the embedded
word problems. Packing starts from tokenized rows and ends with whole model batches. Ours and
SeqIO's take turns in one process, so that whatever else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.converters import EncoderDecoderConverter
from tlm_jax.data.pipeline.packing import assign_rows
from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.pipeline.store import RecordReader
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.ragged import PreparedExamples, Ragged, TokenizedExamples
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name

GSM8K, EMBEDDED = "gsm8k_cot_zero_shot", "word_problems_cot_zero_shot"


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.cores:
        os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[: options.cores]))
    try:
        return _run(options)
    except UserError as error:
        print(f"error: {error}")
        return 1


def _run(options: argparse.Namespace) -> int:
    data = RunData(options.data_dir or None)
    name = options.task or (GSM8K if data.data_dir else EMBEDDED)
    tasks.load_tasks()
    task = tasks.get_task(name)
    vocabulary = vocabulary_from_name(options.vocabulary) if options.vocabulary else None
    reader = RecordReader(task, "train", vocabulary, data)
    count = min(options.rows, reader.num_examples or options.rows)
    examples = reader.read(np.random.default_rng(0).permutation(count))
    lengths = {"inputs": options.inputs, "targets": options.targets}
    print(f"{name}: {count:,} rows, {reader.vocabulary!r}, packed to {lengths}")
    print(f"cores: {len(os.sched_getaffinity(0))}; every figure is the median of {options.repeats}")

    _say("tokenizing, one thread", [_tokenizing(examples, reader.vocabulary)])
    contestants: dict[str, Callable[[], Mapping[str, float]]] = {
        "our packing": lambda: _our_packing(examples, lengths, options.window)
    }
    if options.seqio:
        run_seqio = _prepare_seqio(examples, lengths)
        run_seqio()  # TensorFlow traces its functions the first time
        contestants["SeqIO's packing"] = run_seqio
    results: dict[str, list[Mapping[str, float]]] = {label: [] for label in contestants}
    for _ in range(options.repeats):
        for label, run in contestants.items():
            results[label].append(run())
    for label, runs in results.items():
        _say(label, runs)
    _pipeline(name, lengths, vocabulary, data, options)
    return 0


def _tokenizing(examples: TokenizedExamples, vocabulary: Vocabulary) -> dict[str, float]:
    texts = [str(r[name]) for r in examples.records for name in ("inputs", "targets") if name in r]
    began = time.perf_counter()
    tokens = sum(len(ids) for ids in vocabulary.encode_batch(texts))
    return {"tokens/s": tokens / (time.perf_counter() - began)}


def _our_packing(
    examples: TokenizedExamples, lengths: Mapping[str, int], window: int
) -> dict[str, float]:
    """Packs windows of examples into model batches."""
    converter = EncoderDecoderConverter(lengths)
    prepared = converter.prepare(examples)
    parts = [
        prepared.take(np.arange(start, min(start + window, len(prepared))))
        for start in range(0, len(prepared), window)
    ]
    began = time.perf_counter()
    num_rows = 0
    for part in parts:
        rows = assign_rows(part.axes, converter.row_lengths)
        num_rows += int(rows.max()) + 1
        converter.convert(part, rows, int(rows.max()) + 1, packed=True)
    seconds = time.perf_counter() - began
    return _result(prepared, lengths, num_rows, seconds)


def _prepare_seqio(
    examples: TokenizedExamples, lengths: Mapping[str, int]
) -> Callable[[], dict[str, float]]:
    """Returns a function that packs the same rows with SeqIO's feature converter."""
    import seqio
    import tensorflow

    tf: Any = tensorflow  # whose members are made at run time
    prepared = EncoderDecoderConverter(lengths).prepare(examples)

    def ragged(feature: Ragged):
        return tf.RaggedTensor.from_row_lengths(feature.values, feature.lengths)

    rows = {name: ragged(prepared.examples.features[name]) for name in lengths}
    dataset = tf.data.Dataset.from_tensor_slices(rows)
    packed = seqio.EncDecFeatureConverter(pack=True)(dataset, dict(lengths))

    def run() -> dict[str, float]:
        began = time.perf_counter()
        num_rows = sum(1 for _ in packed.as_numpy_iterator())
        return _result(prepared, lengths, num_rows, time.perf_counter() - began)

    return run


def _result(
    prepared: PreparedExamples, lengths: Mapping[str, int], num_rows: int, seconds: float
) -> dict[str, float]:
    used = prepared.axes.sum(axis=0)
    fill = {
        f"fill of {name}": float(tokens / (num_rows * lengths[name]))
        for name, tokens in zip(lengths, used)
    }
    return {"tokens/s": float(used.sum()) / seconds, "rows": num_rows, **fill}


def _pipeline(
    name: str,
    lengths: Mapping[str, int],
    vocabulary: Vocabulary | None,
    data: RunData,
    options: argparse.Namespace,
) -> None:
    """Times the whole pipeline: reading, tokenizing, packing, converting."""
    config = PipelineConfig(
        name,
        dict(lengths),
        options.batch,
        vocabulary=vocabulary,
        packing_window=options.window,
        data=data,
    )
    with Pipeline(config) as pipeline:
        began = time.perf_counter()
        next(pipeline)
        first = time.perf_counter() - began
        tokens = dict(pipeline.statistics.tokens)
        began = time.perf_counter()
        for _ in range(options.batches):
            next(pipeline)
        seconds = time.perf_counter() - began
        state = pipeline.state()
        made = sum(pipeline.statistics.tokens[axis] - tokens[axis] for axis in tokens)
        fill = pipeline.statistics.fill()
    began = time.perf_counter()
    with Pipeline(config) as restored:
        restored.restore(state)
        next(restored)
        again = time.perf_counter() - began
    shown = ", ".join(f"fill of {axis} {share:.1%}" for axis, share in fill.items())
    print(f"  {'whole pipeline':24}{made / seconds:>12,.0f} tokens/s, {shown}")
    print(
        f"  {'':24}batch of {options.batch}: first after {first:.2f} s, "
        f"first after restoring batch {state['step']} {again:.2f} s"
    )


def _say(label: str, runs: list[Mapping[str, float]]) -> None:
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    shown = [f"{medians.pop('tokens/s'):>12,.0f} tokens/s"]
    for name, value in medians.items():
        shown.append(f"{name} {value:.1%}" if name.startswith("fill") else f"{value:,.0f} {name}")
    print(f"  {label:24}{', '.join(shown)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data_dir", metavar="DIR", help="directory of data files (else TLM_JAX_DATA_DIR)")
    add("--task", help=f"another task than {GSM8K} or {EMBEDDED}")
    add("--vocabulary", metavar="V", help="as for tlm_jax.inspect; else the task's own")
    add("--rows", type=int, default=7473, help="examples")
    add("--inputs", type=int, default=512, help="tokens of a row's inputs")
    add("--targets", type=int, default=512, help="tokens of a row's targets")
    add("--window", type=int, default=512, help="examples packed together")
    add("--batch", type=int, default=32, help="rows of the pipeline's batches")
    add("--batches", type=int, default=60, help="timed batches of the pipeline")
    add("--repeats", type=int, default=5)
    add("--cores", type=int, default=2, help="0: all")
    add("--seqio", action=argparse.BooleanOptionalAction, default=True, help="compare with SeqIO")
    return parser
