"""One example as a person would want to see it: as text in every format, and token by token."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tlm_jax.data import tasks
from tlm_jax.data.formats import FORMATS
from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.data.run_data import RunData
from tlm_jax.ragged import TokenizedExamples
from tlm_jax.vocabularies import Vocabulary

_FORMAT_SEARCH = 300


@dataclasses.dataclass(frozen=True)
class Token:
    """One position as the model sees it.

    Attributes:
      piece: how the vocabulary writes it.
      token_id: its id.
      weight: in the loss; None on the encoder's side.
      cut: beyond the feature length, so the model does not see it.
      prompt: part of the inputs of a decoder-only model.
    """

    piece: str
    token_id: int
    weight: float | None = None
    cut: bool = False
    prompt: bool = False


@dataclasses.dataclass(frozen=True)
class ShownExample:
    """One example as text in every format and as tokens.

    Attributes:
      task: where it comes from.
      example_id: its name.
      texts: (format or task name, inputs or None, targets); the surveyed task's own comes first.
      carried: further strings for evaluation, such as the gold answer.
      sequences: by axis ("encoder", "decoder"), the tokens.
    """

    task: str
    example_id: str
    texts: tuple[tuple[str, str | None, str], ...]
    carried: Mapping[str, str]
    sequences: Mapping[str, tuple[Token, ...]]


def show_example(
    one: TokenizedExamples,
    *,
    task: str,
    split: str,
    index: int,
    converter: Converter,
    vocabulary: Vocabulary,
    data: RunData,
) -> ShownExample:
    """Returns a single example as text in every format that its data set has, and as tokens.

    Args:
      one: the example, tokenized by `task`.
      task: the task that it comes from.
      split: of the task.
      index: of the example in the split.
      converter: makes its tokens a model's.
      vocabulary: writes them as pieces.
      data: where its siblings are read.
    """
    record = one.records[0]
    own = next((form for form in FORMATS if task.endswith(f"_{form}")), task)
    inputs = record.get("inputs")
    texts = [(own, None if inputs is None else str(inputs), str(record["targets"]))]
    for form, sibling in format_siblings(task).items():
        if form != own:
            found = _same_example(sibling, split, index, one.ids[0], data)
            if found is not None:
                texts.append((form, str(found["inputs"]), str(found["targets"])))
    carried = {
        name: value
        for name, value in record.items()
        if isinstance(value, str) and name not in ("id", "inputs", "targets")
    }
    sequences = _sequences(converter, one, vocabulary)
    return ShownExample(task, one.ids[0], tuple(texts), carried, sequences)


def format_siblings(name: str) -> dict[str, tasks.Task]:
    """Returns, by format, the tasks that show the same data set as `name` in another format."""
    for form in FORMATS:
        if name.endswith(f"_{form}"):
            stem = name.removesuffix(form)
            known = tasks.registered()
            found = {other: known.get(stem + other) for other in FORMATS}
            return {other: task for other, task in found.items() if isinstance(task, tasks.Task)}
    return {}


def _same_example(task: tasks.Task, split: str, index: int, example_id: str, data: RunData):
    """Returns the example of that id from a task that may leave out a few others, or None."""
    source = task.source.for_run(data)
    size = source.num_examples(split)
    for distance in range(_FORMAT_SEARCH):
        for place in {index + distance, index - distance}:
            if place >= 0 and (size is None or place < size):
                found = source.example(split, place)
                if found["id"] == example_id:
                    return found
    return None


def _sequences(
    converter: Converter, one: TokenizedExamples, vocabulary: Vocabulary
) -> dict[str, tuple[Token, ...]]:
    """Returns the tokens that the converter makes of one example, and those it cuts off."""
    batch = converter.convert(converter.prepare(one), np.zeros(1, np.int64), 1, packed=False)
    sequences = {}
    for axis in converter.axes:
        features = ("inputs",) if axis == "encoder" else ("targets",)
        if converter.axes == ("decoder",) and "inputs" in one.features:
            features = ("inputs", "targets")
        tokens: list[Token] = []
        place = 0
        for name in features:
            ids = one.features[name][0]
            kept = min(len(ids), converter.feature_lengths[name])
            weights = [None] * kept
            if axis == "decoder":
                weights = batch["decoder_loss_weights"][0, place : place + kept].tolist()
            place += kept
            for number, token_id in enumerate(ids.tolist()):
                cut = number >= kept
                weight = None if cut else weights[number]
                prompt = axis == "decoder" and name == "inputs"
                tokens.append(Token(vocabulary.piece(token_id), token_id, weight, cut, prompt))
        sequences[axis] = tuple(tokens)
    return sequences
