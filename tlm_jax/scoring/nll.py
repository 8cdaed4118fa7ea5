"""Teacher-forced negative log-likelihood of the targets."""

from __future__ import annotations

from tlm_jax import models
from tlm_jax.losses import fused
from tlm_jax.losses.reduction import WeightedSum
from tlm_jax.types import Batch, Params


def target_nll(
    params: Params,
    batch: Batch,
    config: models.ModelConfig,
    *,
    chunk_tokens: int = 1024,
    prefix: models.Prefix | None = None,
) -> WeightedSum:
    """Returns the batch's summed -log p(target | what precedes it), in nats, and its weight.

    Divided once it is the mean in nats a token; `exp` of that is the perplexity. Dropout, label
    smoothing and z-loss are off; tokens count by `decoder_loss_weights`. With a prefix the batch
    holds what follows it (`models.hidden_states`).
    """
    output = fused.cross_entropy_from_hidden(
        models.hidden_states(params, batch, config, prefix=prefix),
        models.unembedding(params, config),
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        chunk_tokens=chunk_tokens,
    )
    return output.loss
