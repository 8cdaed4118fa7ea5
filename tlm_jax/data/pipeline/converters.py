"""Tokenized examples to model batches, under T5X's feature names.

The two converters give what SeqIO's `EncDecFeatureConverter` and `PrefixLMFeatureConverter`
(`LMFeatureConverter` without inputs) give for the same rows, with two differences: loss weights
are float32, and lengths are known rather than counted from non-zeros, so that id 0 may be a token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.errors import UserError, nearest
from tlm_jax.ragged import PreparedExamples, TokenizedExamples, exclusive_cumsum, spans


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConverter(Converter):
    """Inputs to the encoder, targets to the decoder.

    Packed to inputs 10 and targets 7, `inputs [7,8,5,1], targets [3,9,1]` and
    `inputs [8,4,9,3,1], targets [4,1]` become
    ```
    encoder_input_tokens   7 8 5 1 8 4 9 3 1 0
    encoder_segment_ids    1 1 1 1 2 2 2 2 2 0
    encoder_positions      0 1 2 3 0 1 2 3 4 0
    decoder_target_tokens  3 9 1 4 1 0 0
    decoder_input_tokens   0 3 9 0 4 0 0
    decoder_loss_weights   1 1 1 1 1 0 0
    decoder_segment_ids    1 1 1 2 2 0 0
    decoder_positions      0 1 2 0 1 0 0
    ```
    """

    @property
    def axes(self) -> tuple[str, ...]:
        return ("encoder", "decoder")

    @property
    def row_lengths(self) -> tuple[int, ...]:
        return self.feature_lengths["inputs"], self.feature_lengths["targets"]

    def check_features(self, features: Sequence[str], task: str) -> None:
        if "inputs" not in features:
            raise UserError(
                f"{task!r} has targets only, and an encoder-decoder needs inputs; train a "
                "decoder-only model on it, or choose another task."
            )
        super().check_features(features, task)

    def prepare(self, examples: TokenizedExamples) -> PreparedExamples:
        trimmed = self._trim(examples)
        lengths = [trimmed.features[name].lengths for name in ("inputs", "targets")]
        return PreparedExamples(trimmed, np.stack(lengths, axis=1))

    def _along_axes(self, prepared: PreparedExamples) -> dict[str, dict[str, np.ndarray]]:
        values = {name: ragged.values for name, ragged in prepared.examples.features.items()}
        decoder = {
            "decoder_target_tokens": values["targets"],
            "decoder_loss_weights": np.ones(len(values["targets"]), np.float32),
            **{name: values[name] for name in self.aligned},
        }
        return {"encoder": {"encoder_input_tokens": values["inputs"]}, "decoder": decoder}


@dataclasses.dataclass(frozen=True)
class DecoderOnlyConverter(Converter):
    """Inputs and targets joined into one sequence; without inputs, plain language modelling.

    A row holds as many tokens as the feature lengths add up to. Packed to inputs 7 and targets 8,
    the examples of `EncoderDecoderConverter` become
    ```
    decoder_target_tokens     7 8 5 1 3 9 1 8 4 9 3 1 4 1 0
    decoder_input_tokens      0 7 8 5 1 3 9 0 8 4 9 3 1 4 0
    decoder_loss_weights      0 0 0 0 1 1 1 0 0 0 0 0 1 1 0
    decoder_positions         0 1 2 3 4 5 6 0 1 2 3 4 5 6 0
    decoder_segment_ids       1 1 1 1 1 1 1 2 2 2 2 2 2 2 0
    decoder_causal_attention  1 1 1 1 1 0 0 1 1 1 1 1 1 0 0
    ```
    `decoder_causal_attention` (only with inputs) marks what a prefix language model attends to in
    both directions: the prompt, and the place where its last token is read.

    With `bos_id=None` each example loses its first target, and reads that token first: 7 takes the
    place of the first 0 among the inputs, and the targets begin with 8.

    Attributes:
      loss_on_targets_only: whether tokens of the inputs have loss weight 0.
    """

    loss_on_targets_only: bool = True

    @property
    def axes(self) -> tuple[str, ...]:
        return ("decoder",)

    @property
    def row_lengths(self) -> tuple[int, ...]:
        return (sum(self.feature_lengths.values()),)

    def prepare(self, examples: TokenizedExamples) -> PreparedExamples:
        trimmed = self._trim(examples)
        lengths = self._prompt_lengths(trimmed) + trimmed.features["targets"].lengths
        if "inputs" in trimmed.features:
            # Without targets (a prompt to continue) there must still be a place to start from.
            lengths = np.maximum(lengths, self._prompt_lengths(trimmed) + 1)
        if self.bos_id is None:
            lengths = np.maximum(lengths - 1, 0)
        return PreparedExamples(trimmed, lengths[:, None])

    def _first_tokens(self, prepared: PreparedExamples) -> Int[np.ndarray, "n"]:
        if self.bos_id is not None:
            return super()._first_tokens(prepared)
        features = prepared.examples.features
        names = [name for name in ("inputs", "targets") if name in features]
        first = np.zeros(len(prepared), np.int64)
        for name in reversed(names):
            here = features[name].lengths > 0
            first[here] = features[name].values[features[name].starts[here]]
        return first

    def _along_axes(self, prepared: PreparedExamples) -> dict[str, dict[str, np.ndarray]]:
        features = prepared.examples.features
        prompts = self._prompt_lengths(prepared.examples)
        lengths = prepared.axes[:, 0] + (self.bos_id is None)
        starts = exclusive_cumsum(lengths)
        total = int(lengths.sum())
        of_answer = spans(starts + prompts, features["targets"].lengths)

        tokens = np.zeros(total, np.int32)
        tokens[of_answer] = features["targets"].values
        weights = np.zeros(total, np.float32)
        weights[of_answer] = 1.0
        along = {"decoder_target_tokens": tokens, "decoder_loss_weights": weights}
        if "inputs" in features:
            of_prompt = spans(starts, prompts)
            tokens[of_prompt] = features["inputs"].values
            if not self.loss_on_targets_only:
                weights[of_prompt] = 1.0
            attended = np.zeros(total, np.int32)
            attended[spans(starts, np.minimum(prompts + 1, lengths))] = 1
            along["decoder_causal_attention"] = attended
        for name, fill in self.aligned.items():
            values = features[name].values
            along[name] = np.full((total, *values.shape[1:]), fill, values.dtype)
            along[name][of_answer] = values
        if self.bos_id is None:
            along = {name: np.delete(values, starts, axis=0) for name, values in along.items()}
        return {"decoder": along}

    def _prompt_lengths(self, examples: TokenizedExamples) -> Int[np.ndarray, "n"]:
        if "inputs" in examples.features:
            return examples.features["inputs"].lengths
        return np.zeros(len(examples), np.int64)


def make_converter(architecture: str, **options: object) -> Converter:
    """Returns the converter for "encoder_decoder" or "decoder_only" models."""
    converters = {
        "encoder_decoder": EncoderDecoderConverter,
        "decoder_only": DecoderOnlyConverter,
    }
    if architecture not in converters:
        raise UserError(
            f"unknown architecture {architecture!r}: expected one of {', '.join(converters)}."
            + nearest(architecture, converters)
        )
    return converters[architecture](**options)
