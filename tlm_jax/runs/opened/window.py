"""How many tokens a model can read at once."""

from __future__ import annotations

from tlm_jax import models
from tlm_jax.checkpoints.pretrained import Pretrained


def window_of(source: Pretrained) -> int | None:
    """Returns the most tokens of prompt and answer together; None where nothing sets a limit.

    It is the number of learned positions, else what the model's Hugging Face configuration calls
    `max_position_embeddings`. Relative positions, as of an encoder-decoder, have no limit.
    """
    if isinstance(source.config, models.EncoderDecoderConfig):
        return None
    if source.config.max_positions is not None:
        return source.config.max_positions
    named = (source.hugging_face or {}).get("max_position_embeddings")
    return named if isinstance(named, int) else None
