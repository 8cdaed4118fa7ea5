"""Rows of model features from tokenized examples: what converters of both architectures share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

from tlm_jax.data.pipeline.packing import Layout, lay_out
from tlm_jax.errors import UserError, nearest
from tlm_jax.ragged import PreparedExamples, TokenizedExamples


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
