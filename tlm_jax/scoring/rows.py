"""Rows for scoring: a context once, all its continuations behind it, rows of like length together.

Each row is a trunk, the shared context, and branches, the continuations less their last token,
which nothing reads. Single letters thus add nothing to the context.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlm_jax.errors import UserError

MOST_BRANCH_TOKENS = 1024
"""Continuations of one context beyond so many tokens together get a further row."""


@dataclass(frozen=True)
class Request:
    """A context and what may follow it, as token ids.

    Attributes:
      context: of a decoder-only model all that it reads before the continuation, BOS included; of
        an encoder-decoder the encoder's input, EOS included where the model expects one.
      continuations: each at least one token.
    """

    context: np.ndarray
    continuations: Sequence[np.ndarray]


@dataclass(frozen=True)
class Row:
    """One row before it is padded.

    Attributes:
      request: its number.
      encoder: tokens of the encoder; empty for decoder-only models.
      trunk: what the decoder reads first.
      options: numbers of the request's continuations that stand here.
      continuations: these.
      dropped_tokens: how many of the context did not fit.
      prefix_tokens: how many stand before the trunk, which are worked on apart.
    """

    request: int
    encoder: np.ndarray
    trunk: np.ndarray
    options: tuple[int, ...]
    continuations: tuple[np.ndarray, ...]
    dropped_tokens: int
    prefix_tokens: int = 0

    @property
    def width(self) -> int:
        """Tokens that the decoder reads."""
        return len(self.trunk) + sum(len(c) - 1 for c in self.continuations)

    @property
    def num_targets(self) -> int:
        return sum(len(c) for c in self.continuations)

    def behind(self, prefix_tokens: int) -> Row:
        """Returns the row without the first tokens of its trunk, of which some are left."""
        return dataclasses.replace(
            self, trunk=self.trunk[prefix_tokens:], prefix_tokens=prefix_tokens
        )


def rows_of(
    number: int,
    request: Request,
    *,
    bos_id: int | None,
    max_length: int | None,
    max_context_length: int | None = None,
) -> Iterator[Row]:
    """Yields the rows of a request; one, unless it is very long or is cut.

    What is too long loses its left end. Decoder-only: context and continuation together keep at
    most `max_length + 1` tokens, of which the last is not read. Where that leaves a longer and a
    shorter continuation with different contexts, they stand in different rows.

    Args:
      number: of the request, for the rows and errors.
      request: what is scored.
      bos_id: what the decoder of an encoder-decoder reads first; None for decoder-only models.
      max_length: most tokens that the decoder reads; None means any number.
      max_context_length: of an encoder, likewise.

    Raises:
      UserError: an empty context or continuation, or a continuation longer than the model reads.
    """
    _check(number, request, max_length)
    groups: dict[int, list[int]] = {}
    for option, continuation in enumerate(request.continuations):
        room = len(request.context) if bos_id is None else max_context_length
        if bos_id is None and max_length is not None:
            room = max_length + 1 - len(continuation)
        kept = len(request.context) if room is None else min(room, len(request.context))
        groups.setdefault(kept, []).append(option)
    for kept, options in groups.items():
        context = np.asarray(request.context[len(request.context) - kept :], np.int32)
        trunk = context if bos_id is None else np.asarray([bos_id], np.int32)
        for some in _parts(options, request.continuations):
            yield Row(
                request=number,
                encoder=context if bos_id is not None else np.zeros(0, np.int32),
                trunk=trunk,
                options=tuple(some),
                continuations=tuple(np.asarray(request.continuations[i], np.int32) for i in some),
                dropped_tokens=len(request.context) - kept,
            )


def to_batch(rows: Sequence[Row], num_rows: int) -> dict[str, np.ndarray]:
    """Returns rows padded to few shapes; the last is repeated to make `num_rows`.

    Features as `models.branched_hidden_states` reads them, and [B, M] `source`, the place of the
    token before each target, and `target`.
    """
    rows = [*rows, *[rows[-1]] * (num_rows - len(rows))]
    width = padded_length(max(row.width for row in rows))
    targets = padded_length(max(row.num_targets for row in rows), smallest=8)
    names = ("decoder_input_tokens", "decoder_branch_ids", "decoder_positions")
    batch = {name: np.zeros((num_rows, width), np.int32) for name in names}
    batch["decoder_branch_ids"][:] = -1
    batch |= {name: np.zeros((num_rows, targets), np.int32) for name in ("source", "target")}
    for index, row in enumerate(rows):
        _fill(batch, index, row)
    if any(len(row.encoder) for row in rows):
        longest = padded_length(max(len(row.encoder) for row in rows))
        batch["encoder_input_tokens"] = np.zeros((num_rows, longest), np.int32)
        batch["encoder_segment_ids"] = np.zeros((num_rows, longest), np.int32)
        for index, row in enumerate(rows):
            batch["encoder_input_tokens"][index, : len(row.encoder)] = row.encoder
            batch["encoder_segment_ids"][index, : len(row.encoder)] = 1
    return batch


def padded_length(length: int, smallest: int = 32) -> int:
    """Returns the least of `smallest`, then four steps an octave, that holds `length`.

    Example: 33 gives 40, 100 gives 112, 257 gives 320. At most a fifth is padding, and programs
    are compiled for at most four lengths in each octave that occurs.
    """
    bucket = smallest
    while bucket < length:
        octave = smallest * 2 ** int(np.log2(bucket // smallest))
        bucket += octave // 4
    return bucket


def _fill(batch: dict[str, np.ndarray], index: int, row: Row) -> None:
    tokens, branches, positions = (
        batch[name][index]
        for name in ("decoder_input_tokens", "decoder_branch_ids", "decoder_positions")
    )
    trunk = len(row.trunk)
    tokens[:trunk], branches[:trunk] = row.trunk, 0
    positions[:trunk] = row.prefix_tokens + np.arange(trunk)
    place, target = trunk, 0
    for branch, continuation in enumerate(row.continuations, start=1):
        read = len(continuation) - 1
        here = slice(place, place + read)
        tokens[here], branches[here] = continuation[:-1], branch
        positions[here] = row.prefix_tokens + trunk + np.arange(read)
        scored = slice(target, target + read + 1)
        batch["target"][index, scored] = continuation
        batch["source"][index, scored] = [trunk - 1, *range(place, place + read)]
        place, target = place + read, target + read + 1


def _parts(options: Sequence[int], continuations: Sequence[np.ndarray]) -> Iterator[list[int]]:
    part: list[int] = []
    tokens = 0
    for option in options:
        if part and tokens + len(continuations[option]) > MOST_BRANCH_TOKENS:
            yield part
            part, tokens = [], 0
        part.append(option)
        tokens += len(continuations[option])
    yield part


def _check(number: int, request: Request, max_length: int | None) -> None:
    if len(request.context) == 0:
        raise UserError(
            f"request {number} has no context: expected at least one token, such as BOS or EOS"
        )
    for continuation in request.continuations:
        if len(continuation) == 0:
            raise UserError(f"request {number} has an empty continuation: it has no probability")
        if max_length is not None and len(continuation) > max_length:
            raise UserError(
                f"request {number} has a continuation of {len(continuation)} tokens, but the model "
                f"reads {max_length}: shorten it or raise the length limit"
            )
