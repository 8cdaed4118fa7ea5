"""Compares beam search with the texts and scores that T5X recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tlm_jax.conformance.agreement import Comparison, compare
from tlm_jax.conformance.t5x_recording import Recording
from tlm_jax.decoding.beam import jit_beam
from tlm_jax.decoding.beam_rules import BeamSearch

EOS = 1
SCORE = 1e-5  # relative
_EMPTY = -1e7  # T5X's score of a place without a text
_TOKENS = re.compile(r"decode_(beam\d+(?:_bidirectional)?)_tokens$")


class RecordedBeams(NamedTuple):
    """One recorded search beside ours, in T5X's order (best last) and form.

    Attributes:
      tokens: ours, [B, P, T]; 0 beyond T5X's buffer.
      scores: ours, [B, P].
      compared: bool [B, P]: what the recording tells fully. In rows of decoder-only prompts in
        which a beam reaches the end of T5X's buffer, T5X goes on until the row of the shortest
        prompt is full: such a beam's recorded score has tokens in it that are not recorded, so
        only texts whose EOS is recorded are compared.
      overrun: bool [B]: rows of that kind.
      finished: ours, [B, P].
    """

    tokens: np.ndarray
    scores: np.ndarray
    compared: np.ndarray
    overrun: np.ndarray
    finished: np.ndarray


def recorded_kinds(recording: Recording) -> list[str]:
    """Returns the searches of a recording, such as "beam4" or "beam1_bidirectional"."""
    matches = (_TOKENS.match(name) for name in sorted(recording.expected))
    return [match[1] for match in matches if match]


def search_again(recording: Recording, kind: str) -> RecordedBeams:
    """Repeats a recorded search."""
    batch = recording.batch("decode")
    expected = recording.expected[f"decode_{kind}_tokens"]
    B, P, T = expected.shape
    # T5X limits prompt and text together; the prompt's first token is BOS.
    prompt = np.asarray(batch.get("decoder_causal_attention", np.ones((B, 1)))).sum(axis=1) - 1
    limits = (T - prompt)[:, None].astype(int)
    changes = {"prefix_lm": True} if kind.endswith("_bidirectional") else {}
    decode = jit_beam(
        recording.variant(**changes),
        BeamSearch(P),
        max_decode_steps=int(limits.max()),
        eos_ids=(EOS,),
    )
    tokens, scores, lengths, finished = (
        np.asarray(array)[:, ::-1] for array in decode(recording.params, batch)
    )
    tokens = np.pad(tokens, ((0, 0), (0, 0), (0, T - tokens.shape[2])))
    tokens = np.where(np.arange(T) < limits[..., None], tokens, 0)
    overrun = (lengths > limits).any(axis=1)
    compared = (expected == EOS).any(axis=-1) | ~overrun[:, None]
    return RecordedBeams(tokens, np.maximum(scores, _EMPTY), compared, overrun, finished)


def beams(recording: Recording) -> Iterator[Comparison]:
    """Compares tokens and scores of every recorded search, where the recording tells them fully."""
    for kind in recorded_kinds(recording):
        found = search_again(recording, kind)
        name = f"decode_{kind}_tokens"
        recorded = recording.expected[name][found.compared]
        yield compare(name, found.tokens[found.compared], recorded, 0.0)
        name = f"decode_{kind}_scores"
        found_scores, recorded = (
            _without_empty(scores[found.compared])
            for scores in (found.scores, recording.expected[name])
        )
        yield compare(name, found_scores, recorded, SCORE, relative=True)


def _without_empty(scores: np.ndarray) -> np.ndarray:
    """Returns 0 for empty places, whose -1e7 would make any difference relatively small."""
    return np.where(scores <= _EMPTY, 0.0, scores)
