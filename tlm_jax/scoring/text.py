"""Token ids of contexts and continuations, and where their border is not the tokenizer's own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from tlm_jax.scoring.rows import Request
from tlm_jax.vocabularies import Vocabulary


@dataclass(frozen=True)
class TextRequest:
    """A context and what may follow it, as text."""

    context: str
    continuations: Sequence[str]


@dataclass(frozen=True)
class BoundaryCheck:
    """How often context and continuation are other tokens apart than together.

    Attributes:
      pairs: of a context and a continuation.
      different: how many of them.
      example: the first, as (context, continuation).
    """

    pairs: int = 0
    different: int = 0
    example: tuple[str, str] | None = None

    def __str__(self) -> str:
        if self.example is None:
            return f"none of {self.pairs:,} continuations changes tokens at its border"
        context, continuation = self.example
        return (
            f"{self.different:,} of {self.pairs:,} continuations are other tokens when encoded "
            f"together with their context, as in training, first {continuation!r} after "
            f"...{context[-20:]!r}: scores are of the tokens apart"
        )


def encode_decoder_only(
    requests: Sequence[TextRequest], vocabulary: Vocabulary, start_id: int | None
) -> tuple[list[Request], BoundaryCheck]:
    """Returns requests for a decoder-only model, each part encoded by itself.

    Contexts begin with `start_id`; where that is None only empty ones do, with BOS, else EOS.
    Warns where encode(context) + encode(continuation) is not encode(context + continuation): a
    model that was trained on whole texts has then rarely seen these tokens in a row.
    """
    contexts, parts = _encoded(requests, vocabulary)
    check = _check(requests, contexts, parts, vocabulary)
    if check.different:
        warnings.warn(str(check), stacklevel=2)
    return [
        Request(with_start(context, vocabulary, start_id), tuple(options))
        for context, options in zip(contexts, parts)
    ], check


def with_start(
    context: np.ndarray, vocabulary: Vocabulary, start_id: int | None
) -> Int32[np.ndarray, " n"]:
    """Returns all that a decoder-only model reads before a continuation."""
    if start_id is None and not len(context):
        start_id = vocabulary.bos_id
    start = [] if start_id is None else [start_id]
    return np.concatenate([start, context]).astype(np.int32)


def encode_encoder_decoder(
    requests: Sequence[TextRequest],
    vocabulary: Vocabulary,
    *,
    context_eos: bool = True,
    continuation_eos: bool = False,
) -> list[Request]:
    """Returns requests for an encoder-decoder; there is no border within a sequence.

    Args:
      requests: contexts for the encoder, continuations for the decoder.
      vocabulary: of both.
      context_eos: whether EOS ends the encoder's input, as in T5's training.
      continuation_eos: whether EOS after the continuation is scored with it.
    """
    contexts, parts = _encoded(requests, vocabulary)
    eos = np.asarray([vocabulary.eos_id], np.int32)
    none = np.zeros(0, np.int32)
    return [
        Request(
            np.concatenate([context, eos if context_eos else none]),
            tuple(np.concatenate([part, eos if continuation_eos else none]) for part in options),
        )
        for context, options in zip(contexts, parts)
    ]


def _encoded(
    requests: Sequence[TextRequest], vocabulary: Vocabulary
) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    contexts = vocabulary.encode_batch([request.context for request in requests])
    texts = [text for request in requests for text in request.continuations]
    encoded = iter(vocabulary.encode_batch(texts))
    return contexts, [[next(encoded) for _ in request.continuations] for request in requests]


def _check(
    requests: Sequence[TextRequest],
    contexts: Sequence[np.ndarray],
    parts: Sequence[Sequence[np.ndarray]],
    vocabulary: Vocabulary,
) -> BoundaryCheck:
    joined = iter(
        vocabulary.encode_batch([r.context + text for r in requests for text in r.continuations])
    )
    pairs, different, example = 0, 0, None
    for request, context, options in zip(requests, contexts, parts):
        for text, option in zip(request.continuations, options):
            pairs += 1
            if not np.array_equal(next(joined), np.concatenate([context, option])):
                different += 1
                example = example or (request.context, text)
    return BoundaryCheck(pairs, different, example)
