"""Some of the vocabulary's logits, with what tokens' losses need to know of the others."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array, Int


class Columns(NamedTuple):
    """Which columns of `[B, T, V]` logits an array `[B, T, v]` holds, and what is known of all.

    A loss's value is a function of its statistics, and its gradient by a logit of that logit and
    of its statistics, so that columns can be differentiated by one at a time.
    """

    ids: Int[Array, " v"]
    """In order, where they are all."""
    vocabulary_size: int
    statistics: Any
    """What the loss's own function returned of the logits of all columns."""
