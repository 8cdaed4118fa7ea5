"""Pure functions over parameter trees: a model's parameters, hidden states and logits."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from tlm_jax.models.config import (
    EncoderDecoderConfig,
    ModelConfig,
)
from tlm_jax.models.inner import NO_STATES, InnerStates, Keeps, LayerStates
from tlm_jax.models.modules import apply, module
from tlm_jax.models.prefix import Prefix
from tlm_jax.models.stack import STATES
from tlm_jax.types import Batch, Params, Unembedding


@functools.partial(jax.jit, static_argnames="config")
def init(rng: jax.Array, config: ModelConfig) -> Params:
    """Returns initial float32 parameters, a nested dict with T5X's names."""
    return nn.unbox(_init_boxed(rng, config))


def abstract_params(config: ModelConfig) -> Params:
    """Returns shapes and types of the parameters, without allocating any."""
    return nn.unbox(_abstract_boxed(config))


def logical_axes(config: ModelConfig) -> Any:
    """Returns the tree of the parameters with a tuple of logical axis names for each array."""
    return jax.tree.map(
        lambda box: tuple(box.names),
        _abstract_boxed(config),
        is_leaf=lambda node: isinstance(node, nn.Partitioned),
    )


def hidden_states(
    params: Params,
    batch: Batch,
    config: ModelConfig,
    *,
    dropout_rng: jax.Array | None = None,
    prefix: Prefix | None = None,
) -> Float[Array, "B T D"]:
    """Returns what the unembedding multiplies, in `config.dtype`.

    That is the decoder's hidden states after its last norm, projected to E where a configuration
    has `word_embed_dim`.

    Padding: positions with segment 0 if the batch is packed, else those whose token is 0 (of
    `encoder_input_tokens` and `decoder_target_tokens`). A padded position attends to all
    positions alike, as in T5X; its hidden state means nothing.

    Args:
      params: parameters.
      batch: features by T5X's names, packed or not.
      config: the model.
      dropout_rng: None means no dropout.
      prefix: what all rows begin with, of which they hold the rest; a causal decoder-only model's
        only (`read_prefix`). Positions go on from its length, also where the batch names them.
    """
    before = () if prefix is None else (prefix,)
    return apply(config, params, batch, *before, dropout_rng=dropout_rng)


def layer_states(
    params: Params,
    batch: Batch,
    config: ModelConfig,
    keeps: Keeps = NO_STATES,
    *,
    dropout_rng: jax.Array | None = None,
) -> InnerStates:
    """Returns `hidden_states`, and inner states of chosen layers, of one pass.

    Nothing else is kept: memory is that of `hidden_states` and of what is asked for, with any
    `remat_policy`, layers scanned or not. Gradients flow through all of it.

    Args:
      params: parameters.
      batch: features by T5X's names, packed or not.
      config: the model.
      keeps: which layers.
      dropout_rng: None means no dropout.

    Raises:
      UserError: the model has no such layer, or no such attention.
    """
    keeps.require_in(config.stack_specs())
    model = module(config, deterministic=dropout_rng is None, keeps=keeps)
    rngs = None if dropout_rng is None else {"dropout": dropout_rng}
    result: Any = model.apply({"params": params}, batch, rngs=rngs, mutable=[STATES])
    last, collected = result

    def of(stack: str) -> LayerStates:
        (states,) = collected.get(STATES, {}).get(stack, {}).get("layers", (LayerStates(),))
        return states

    return InnerStates(last, of("decoder"), of("encoder"))


def branched_hidden_states(
    params: Params, batch: Batch, config: ModelConfig, *, prefix: Prefix | None = None
) -> Float[Array, "B T D"]:
    """Returns what the unembedding multiplies, for rows that branch, without dropout.

    A row holds a trunk and any number of continuations of it, each of which sees the trunk and
    itself: the trunk is worked on once for all of them. `hidden[t]` belongs to the token after t
    on its branch; that of the trunk's last token to the first token of every branch.

    Args:
      params: parameters.
      batch: `decoder_input_tokens`; `decoder_branch_ids`, 0 for the trunk, which comes first, then
        1, 2, ..., and -1 for padding; `decoder_positions`, which go on from the trunk's in each
        branch. An encoder-decoder has `encoder_input_tokens` too (one example a row, padding as in
        `hidden_states`), and BOS for a trunk. Behind a prefix positions go on from its length.
      config: the model.
      prefix: what all trunks begin with, of which rows hold the rest, at least one token; a causal
        decoder-only model's only (`read_prefix`).
    """
    if prefix is None:
        return apply(config, params, batch, method="branched")
    return apply(config, params, batch, prefix, method="branched")


def encode(params: Params, batch: Batch, config: EncoderDecoderConfig) -> Float[Array, "B S D"]:
    """Returns the encoder's outputs, without dropout."""
    encoded, _ = apply(config, params, batch, method="encode")
    return encoded


def unembedding(params: Params, config: ModelConfig) -> Unembedding:
    """Returns the map from hidden states to logits."""
    decoder = params["decoder"]
    dense = decoder.get("logits_dense", {})
    if config.tie_embeddings:
        owner = params if config.is_encoder_decoder else decoder
        matrix = owner["token_embedder"]["embedding"].T
    else:
        matrix = dense["kernel"]
    return Unembedding(matrix, config.logits_scale, config.unembedding_soft_cap, dense.get("bias"))


def logits(
    params: Params,
    batch: Batch,
    config: ModelConfig,
    *,
    dropout_rng: jax.Array | None = None,
) -> Float[Array, "B T V"]:
    """Returns float32 logits of every position; arguments as of `hidden_states`."""
    hidden = hidden_states(params, batch, config, dropout_rng=dropout_rng)
    return unembedding(params, config).logits(hidden)


def _init_boxed(rng: jax.Array, config: ModelConfig) -> Any:
    tokens = jnp.zeros((1, 2), jnp.int32)
    names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    return module(config).init({"params": rng}, dict.fromkeys(names, tokens))["params"]


@functools.lru_cache(maxsize=8)
def _abstract_boxed(config: ModelConfig) -> Any:
    return jax.eval_shape(functools.partial(_init_boxed, config=config), jax.random.key(0))
