"""Tokenized examples to model batches, under T5X's feature names.

The two converters give what SeqIO's `EncDecFeatureConverter` and `PrefixLMFeatureConverter`
(`LMFeatureConverter` without inputs) give for the same rows, with two differences: loss weights
are float32, and lengths are known rather than counted from non-zeros, so that id 0 may be a token.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

from tlm_jax.data.pipeline.packing import Layout, lay_out
from tlm_jax.errors import UserError, nearest
from tlm_jax.ragged import PreparedExamples, TokenizedExamples, exclusive_cumsum, spans


@dataclasses.dataclass(frozen=True)
class Converter(abc.ABC):
    """Turns tokenized examples into rows of model features.

    Attributes:
      feature_lengths: tokens kept of "inputs" and "targets"; longer examples lose their end (with
        the EOS, as in SeqIO).
      bos_id: what the decoder reads at the start of every segment. None, for decoder-only models
        alone: the first token of the example, which has no place among the targets then.
      aligned: features aligned with the targets that go into the batch under their own names, with
        the number that stands where there is no target (0 for ids, -inf for log-probabilities).
      mark_padding: give segment ids and positions for unpacked rows too. Needed where id 0 is a
        token, since the model then cannot tell padding from tokens.
    """

    feature_lengths: Mapping[str, int]
    bos_id: int | None = 0
    aligned: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mark_padding: bool = False

    @property
    @abc.abstractmethod
    def axes(self) -> tuple[str, ...]:
        """What is packed: ("encoder", "decoder") or ("decoder",)."""

    @property
    @abc.abstractmethod
    def row_lengths(self) -> tuple[int, ...]:
        """Positions of a row along each axis."""

    @abc.abstractmethod
    def prepare(self, examples: TokenizedExamples) -> PreparedExamples:
        """Trims the examples; the aligned features are trimmed as the targets are."""

    def convert(
        self,
        prepared: PreparedExamples,
        rows: Int[np.ndarray, "n"],
        num_rows: int,
        *,
        packed: bool,
    ) -> dict[str, np.ndarray]:
        """Puts example i into row `rows[i]`; rows without examples are padding of weight zero.

        Args:
          prepared: the examples.
          rows: int64 row numbers below `num_rows`; all different unless packed.
          num_rows: of the batch.
          packed: whether to give segment ids and positions, and to start each segment with BOS.
        """
        along = self._along_axes(prepared)
        batch = {}
        for axis, lengths, row_length in zip(self.axes, prepared.axes.T, self.row_lengths):
            layout = lay_out(lengths, rows, num_rows, row_length)
            for name, values in along[axis].items():
                batch[name] = layout.place(values, self.aligned.get(name, 0.0))
            if axis == "decoder":
                first = self._first_tokens(prepared)
                batch["decoder_input_tokens"] = shift_right(
                    batch["decoder_target_tokens"], layout, first, packed
                )
            if packed or self.mark_padding:
                batch[f"{axis}_segment_ids"] = layout.segment_ids()
                batch[f"{axis}_positions"] = layout.positions()
        return batch

    @abc.abstractmethod
    def _along_axes(self, prepared: PreparedExamples) -> dict[str, dict[str, np.ndarray]]:
        """Returns by axis the model features, the examples' values one after another.

        "decoder" has `decoder_target_tokens`, `decoder_loss_weights` and the aligned features.
        """

    def _first_tokens(self, prepared: PreparedExamples) -> Int[np.ndarray, "n"]:
        """Returns what the decoder reads first of each example."""
        assert self.bos_id is not None
        return np.full(len(prepared), self.bos_id)

    def check_features(self, features: Sequence[str], task: str) -> None:
        """Raises UserError where the lengths do not fit the features of a task."""
        for name in features:
            if name not in self.feature_lengths:
                raise UserError(
                    f"no feature length for {name!r} of {task!r}: set "
                    f"TASK_FEATURE_LENGTHS to a length for each of {', '.join(features)}; "
                    f"got {dict(self.feature_lengths)}."
                )
        for name, length in self.feature_lengths.items():
            if name not in features:
                raise UserError(
                    f"TASK_FEATURE_LENGTHS gives {name!r}, which {task!r} does not have."
                    f"{nearest(name, features)} It has {', '.join(features)}."
                )
            if length < 1:
                raise UserError(
                    f"TASK_FEATURE_LENGTHS gives {name!r} the length {length}; expected at least 1 "
                    "token (leave a feature out of the task to do without it)."
                )

    def find_truncated(self, examples: TokenizedExamples) -> dict[str, Bool[np.ndarray, "n"]]:
        """Returns whether each example loses tokens, by feature."""
        return {
            name: examples.features[name].lengths > length
            for name, length in self.feature_lengths.items()
        }

    def _trim(self, examples: TokenizedExamples) -> TokenizedExamples:
        features = {
            name: examples.features[name].trim(length)
            for name, length in self.feature_lengths.items()
        }
        for name in self.aligned:
            if name not in examples.features:
                raise UserError(
                    f"the examples carry no feature {name!r}; they have "
                    f"{', '.join(examples.features)}."
                )
            features[name] = examples.features[name].trim(self.feature_lengths["targets"])
        return TokenizedExamples(features, examples.ids, examples.records)


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


def shift_right(
    targets: Int32[np.ndarray, "rows length"],
    layout: Layout,
    first: Int[np.ndarray, "n"],
    packed: bool,
) -> Int32[np.ndarray, "rows length"]:
    """Returns decoder inputs: its `first` token, then the targets but the last, of each segment.

    As in SeqIO, padding of a packed row is 0, and an unpacked row shows its last token after its
    last target (its weight there is zero).
    """
    shifted = np.zeros_like(targets)
    shifted[:, 1:] = targets[:, :-1]
    if packed:
        segments = layout.segment_ids()
        shifted[segments == 0] = 0
        used = layout.lengths > 0
        shifted[layout.rows[used], layout.starts[used]] = first[used]
    else:
        shifted[layout.rows, 0] = first
    return shifted


def check_token_ids(batch: Mapping[str, np.ndarray], num_embeddings: int) -> None:
    """Raises UserError where a batch holds a token that the embedding has no row for."""
    for name, values in batch.items():
        if name.endswith("_tokens") and (values.max(initial=0) >= num_embeddings):
            raise UserError(
                f"{name} holds token {values.max()}, but the model's embedding has only "
                f"{num_embeddings} rows; set vocab_size to at least the vocabulary's size."
            )


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
