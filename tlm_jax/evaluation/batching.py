"""Batches for evaluation: every example once, prompts of like beginning and length together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from tlm_jax import models
from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.decoding.buckets import bucket_length
from tlm_jax.decoding.common_prefixes import TokenPrefix, by_prefix, common_prefixes
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.ragged import PreparedExamples, TokenizedExamples


@dataclass(frozen=True)
class EvalBatch:
    """Examples to be decoded and scored together.

    Attributes:
      indices: which examples of the set stand in the first rows.
      prompts: what decoding reads, [B, S]. Rows beyond the examples repeat the first one, so that
        they cannot make decoding last longer.
      targets: a batch for teacher forcing; rows beyond the examples have weight zero.
      prefix: tokens that all rows begin with, which stand in neither of the two.
    """

    indices: tuple[int, ...]
    prompts: Mapping[str, np.ndarray]
    targets: Mapping[str, np.ndarray]
    prefix: TokenPrefix = ()


def eval_batches(
    eval_set: EvalSet, config: models.ModelConfig, batch_size: int
) -> Iterator[EvalBatch]:
    """Yields batches of `batch_size` rows that hold every example exactly once.

    Prompts are sorted by length and padded to few lengths (`decoding.buckets`); each batch for
    teacher forcing is as long as the longest example needs. A causal decoder-only model gets
    prompts that begin alike together, if they are many (`decoding.common_prefixes`).

    Raises:
      UserError: the feature lengths do not fit the task.
    """
    converter = _converter(eval_set, config)
    prompt_lengths = _prompt_lengths(eval_set.examples, converter)
    order = np.argsort(prompt_lengths, kind="stable")
    read = _prompts_as_read(eval_set, prompt_lengths) if config.is_causal else []
    prefixes = common_prefixes(read, batch_size) if read else []
    for prefix, family in by_prefix(order, prefixes, lambda index: read[index]):
        members, skipped = np.asarray(list(family)), len(prefix)
        num_positions = _longest(
            converter.prepare(eval_set.examples.take(members)), converter, skipped
        )
        for start in range(0, len(members), batch_size):
            chosen = members[start : start + batch_size]
            prepared = converter.prepare(eval_set.examples.take(chosen))
            arrays = converter.convert(prepared, np.arange(len(chosen)), batch_size, packed=False)
            if prefix:
                arrays = {name: array[:, skipped:] for name, array in arrays.items()}
            rows = np.arange(batch_size)
            rows[len(chosen) :] = 0
            yield EvalBatch(
                indices=tuple(int(i) for i in chosen),
                prompts=_prompts(arrays, rows, int(prompt_lengths[chosen].max()) - skipped),
                targets=_cut(arrays, num_positions),
                prefix=prefix,
            )


def count_truncated_prompts(eval_set: EvalSet) -> int:
    """Returns how many prompts have lost their beginning, or lose their end, to length limits."""
    if "inputs" not in eval_set.examples.features:
        return 0
    lengths = eval_set.examples.features["inputs"].lengths
    return eval_set.cut_prompts + int(
        np.count_nonzero(lengths > eval_set.feature_lengths["inputs"])
    )


def _converter(eval_set: EvalSet, config: models.ModelConfig) -> Converter:
    converter = make_converter(
        config.architecture,
        feature_lengths=eval_set.feature_lengths,
        bos_id=eval_set.start_id,
        mark_padding=not eval_set.vocabulary.zero_is_padding,
    )
    features = [name for name in ("inputs", "targets") if name in eval_set.examples.features]
    converter.check_features(features, eval_set.task)
    return converter


def _prompt_lengths(examples: TokenizedExamples, converter: Converter) -> Int[np.ndarray, "n"]:
    """Returns the tokens of each prompt that the model gets."""
    if "inputs" not in examples.features:
        return np.zeros(len(examples), np.int64)
    return np.minimum(examples.features["inputs"].lengths, converter.feature_lengths["inputs"])


def _prompts_as_read(
    eval_set: EvalSet, lengths: Int[np.ndarray, "n"]
) -> Sequence[Int[np.ndarray, "_"]]:
    """Returns the tokens of each prompt that a decoder-only model reads, BOS among them."""
    inputs = eval_set.examples.features.get("inputs")
    if inputs is None:
        return []
    start = [] if eval_set.start_id is None else [eval_set.start_id]
    return [
        np.concatenate([start, inputs[index][:length]]).astype(np.int64)
        for index, length in enumerate(lengths)
    ]


def _longest(prepared: PreparedExamples, converter: Converter, skipped: int) -> dict[str, int]:
    """Returns the positions to keep along each side of a batch for teacher forcing.

    Of a decoder-only model's rows the first `skipped` positions are not there.
    """
    longest = dict(zip(_SIDES[len(converter.row_lengths)], prepared.axes.max(axis=0) - skipped))
    limits = dict(zip(_SIDES[len(converter.row_lengths)], converter.row_lengths))
    return {side: bucket_length(int(longest[side]), limits[side] - skipped) for side in longest}


def _prompts(
    arrays: Mapping[str, np.ndarray], rows: Int[np.ndarray, "B"], longest: int
) -> dict[str, np.ndarray]:
    """Returns the features that decoding reads, cut to the bucket of the longest prompt."""
    if "encoder_input_tokens" in arrays:
        names = ("encoder_input_tokens", "encoder_segment_ids", "encoder_positions")
        limit = arrays["encoder_input_tokens"].shape[1]
        length = bucket_length(longest, limit)
        prompts = {name: arrays[name][rows, :length] for name in names if name in arrays}
        # The decoder starts with BOS, which is not 0 in every vocabulary.
        return prompts | {"decoder_input_tokens": arrays["decoder_input_tokens"][rows, :1]}
    tokens = arrays["decoder_input_tokens"]
    length = bucket_length(longest + 1, tokens.shape[1])  # BOS may come first
    attended = arrays.get("decoder_causal_attention")
    if attended is None:
        attended = np.zeros_like(tokens)
        attended[:, 0] = 1
    return {
        "decoder_input_tokens": (tokens * (attended > 0))[rows, :length],
        "decoder_causal_attention": attended[rows, :length],
    }


def _cut(arrays: Mapping[str, np.ndarray], positions: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Drops the columns of each side beyond those that hold something."""
    return {name: array[:, : positions[name.split("_")[0]]] for name, array in arrays.items()}


_SIDES = {1: ("decoder",), 2: ("encoder", "decoder")}
"""What the axes of a converter are called in the names of batch features."""
