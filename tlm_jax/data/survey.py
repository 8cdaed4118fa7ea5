"""Looks at a task or mixture as the pipeline would read it: what `tlm_jax.inspect` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.data.pipeline.mixing import ExampleOrder
from tlm_jax.data.pipeline.packing import assign_rows
from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.pipeline.shuffle import permute
from tlm_jax.data.pipeline.store import OrderedReader, open_readers
from tlm_jax.data.run_data import RunData
from tlm_jax.data.shown_examples import ShownExample, show_example
from tlm_jax.ragged import PreparedExamples, TokenizedExamples
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class SurveyConfig:
    """What to look at.

    Attributes:
      name: a task or mixture.
      split: of it.
      num_examples: shown whole.
      sample: examples over which lengths and fill are measured.
      feature_lengths: None for the longest of the sample.
      vocabulary: None for the task's own.
      architecture: "encoder_decoder" or "decoder_only"; None for the former where there are inputs.
      seed: which examples are drawn.
      data: where the data are; None for what a run has by default.
    """

    name: str
    split: str = "train"
    num_examples: int = 3
    sample: int = 1000
    feature_lengths: Mapping[str, int] | None = None
    vocabulary: Vocabulary | None = None
    architecture: str | None = None
    seed: int = 0
    data: RunData | None = None


@dataclasses.dataclass(frozen=True)
class LengthSummary:
    """Tokens of one feature over the sample, EOS included.

    Attributes:
      lengths: of every example, int64 [sample].
      limit: the feature length.
      truncated: examples that lose tokens.
      lost_tokens: tokens beyond the limit, as a share of all.
    """

    lengths: Int[np.ndarray, "sample"]
    limit: int
    truncated: int
    lost_tokens: float

    def histogram(self, bins: int) -> tuple[Int[np.ndarray, "bins"], np.ndarray]:
        """Returns counts, and the `bins` + 1 edges."""
        top = max(int(self.lengths.max()), 1)
        return np.histogram(self.lengths, bins=min(bins, top), range=(0, top))


@dataclasses.dataclass(frozen=True)
class PackedRow:
    """Who shares a row.

    Attributes:
      example_ids: in the order of their segments.
      lengths: tokens of each along each axis, int64 [segments, axes].
    """

    example_ids: tuple[str, ...]
    lengths: Int[np.ndarray, "segments axes"]


@dataclasses.dataclass(frozen=True)
class Survey:
    """Everything the views draw.

    Attributes:
      name, split, description: of the task or mixture.
      vocabulary: used for the tokens.
      architecture: of the model.
      rates: share of each task.
      sizes: examples of each task; None if endless.
      lengths_given: whether the feature lengths were chosen by the user.
      examples: those shown whole.
      lengths: by feature.
      axes: of the rows, with the positions each has.
      unpacked_fill: share of positions with a token, by axis, one example a row.
      packed_fill: the same with packing, over the sample.
      rows: the packed rows.
      arrays: the model features of the packed rows drawn, [rows, length].
    """

    name: str
    split: str
    description: str
    vocabulary: Vocabulary
    architecture: str
    rates: Mapping[str, float]
    sizes: Mapping[str, int | None]
    lengths_given: bool
    examples: tuple[ShownExample, ...]
    lengths: Mapping[str, LengthSummary]
    axes: Mapping[str, int]
    unpacked_fill: Mapping[str, float]
    packed_fill: Mapping[str, float]
    rows: tuple[PackedRow, ...]
    arrays: Mapping[str, np.ndarray]


def survey(config: SurveyConfig) -> Survey:
    """Reads, tokenizes, converts and packs a sample of a task or mixture.

    Raises:
      UserError: an unknown name or split, absent data, or lengths that do not fit the features.
    """
    data = config.data or RunData()
    rates, readers = open_readers(
        config.name,
        config.split,
        feature_lengths=config.feature_lengths or {},
        vocabulary=config.vocabulary,
        data=data,
    )
    sizes = {name: reader.num_examples for name, reader in readers.items()}
    order = ExampleOrder(rates, sizes, seed=config.seed)
    count = max(config.sample, config.num_examples, 1)
    if None not in sizes.values() and len(sizes) == 1:
        count = min(count, sum(size or 0 for size in sizes.values()))
    positions = np.arange(count)
    examples = OrderedReader(order, readers)(positions)
    first = next(iter(readers.values()))
    architecture = config.architecture or (
        "encoder_decoder" if "inputs" in first.features else "decoder_only"
    )
    lengths = {name: examples.features[name].lengths for name in first.features}
    limits = config.feature_lengths or {name: int(n.max()) for name, n in lengths.items()}
    converter = make_converter(
        architecture,
        feature_lengths=dict(limits),
        bos_id=first.vocabulary.bos_id,
    )
    converter.check_features(first.features, config.name)
    prepared = converter.prepare(examples)
    row_of = assign_rows(prepared.axes, converter.row_lengths)
    # As in the pipeline: otherwise the rows of the longest examples would all come first.
    row_of = permute(row_of, int(row_of.max()) + 1, config.seed)
    drawn = _first_rows(prepared, row_of, 4)
    return Survey(
        name=config.name,
        split=config.split,
        description=_description(config.name),
        vocabulary=first.vocabulary,
        architecture=architecture,
        rates=rates,
        sizes=sizes,
        lengths_given=config.feature_lengths is not None,
        examples=_shown(
            config.split,
            order,
            readers,
            converter,
            examples.take(np.arange(min(config.num_examples, count))),
            data,
        ),
        lengths={name: _summary(n, limits[name]) for name, n in lengths.items()},
        axes=dict(zip(converter.axes, converter.row_lengths)),
        unpacked_fill=_fill(prepared, converter, len(prepared)),
        packed_fill=_fill(prepared, converter, int(row_of.max()) + 1),
        rows=_packed_rows(prepared, row_of),
        arrays=converter.convert(*drawn, packed=True),
    )


def _shown(
    split: str,
    order: ExampleOrder,
    readers: Mapping[str, Reader],
    converter: Converter,
    examples: TokenizedExamples,
    data: RunData,
) -> tuple[ShownExample, ...]:
    """Returns the examples, which are the first ones of the order."""
    shown = []
    for position, (number, index) in enumerate(zip(*order.locate(np.arange(len(examples))))):
        task = order.names[int(number)]
        shown.append(
            show_example(
                examples.take(np.array([position])),
                task=task,
                split=split,
                index=int(index),
                converter=converter,
                vocabulary=readers[task].vocabulary,
                data=data,
            )
        )
    return tuple(shown)


def _summary(lengths: Int[np.ndarray, "n"], limit: int) -> LengthSummary:
    lost = int(np.maximum(lengths - limit, 0).sum())
    return LengthSummary(
        lengths, limit, int(np.count_nonzero(lengths > limit)), lost / max(int(lengths.sum()), 1)
    )


def _fill(prepared: PreparedExamples, converter: Converter, num_rows: int) -> dict[str, float]:
    used = prepared.axes.sum(axis=0)
    return {
        axis: float(tokens / (num_rows * length))
        for axis, tokens, length in zip(converter.axes, used, converter.row_lengths)
    }


def _first_rows(
    prepared: PreparedExamples, row_of: Int[np.ndarray, "n"], count: int
) -> tuple[PreparedExamples, Int[np.ndarray, "m"], int]:
    members = np.flatnonzero(row_of < count)
    rows = row_of[members]
    return prepared.take(members), rows, int(rows.max()) + 1


def _packed_rows(prepared: PreparedExamples, row_of: Int[np.ndarray, "n"]) -> tuple[PackedRow, ...]:
    ends = np.cumsum(np.bincount(row_of))
    groups: Sequence[np.ndarray] = np.split(np.argsort(row_of, kind="stable"), ends[:-1])
    return tuple(
        PackedRow(tuple(prepared.examples.ids[i] for i in members), prepared.axes[members])
        for members in groups
    )


def _description(name: str) -> str:
    found = tasks.registered().get(name)
    return found.description if found else "a SeqIO task or mixture registered elsewhere"
