"""Pure functions over parameter trees: all that the other packages use of a model."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from tlm_jax.models import cache as caches
from tlm_jax.models.cache import Cache
from tlm_jax.models.config import (
    EncoderDecoderConfig,
    ModelConfig,
)
from tlm_jax.models.decoder_only import DecoderOnly
from tlm_jax.models.encoder_decoder import EncoderDecoder
from tlm_jax.models.inner import NO_STATES, InnerStates, Keeps, LayerStates
from tlm_jax.models.stack import LAYERS_AXIS, STATES
from tlm_jax.models.tiled import LOGITS, tile_decoder, tiled
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
    """
    return _apply(config, params, batch, dropout_rng=dropout_rng)


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
    module = _module(config, deterministic=dropout_rng is None, keeps=keeps)
    rngs = None if dropout_rng is None else {"dropout": dropout_rng}
    result: Any = module.apply({"params": params}, batch, rngs=rngs, mutable=[STATES])
    last, collected = result

    def of(stack: str) -> LayerStates:
        (states,) = collected.get(STATES, {}).get(stack, {}).get("layers", (LayerStates(),))
        return states

    return InnerStates(last, of("decoder"), of("encoder"))


def branched_hidden_states(
    params: Params, batch: Batch, config: ModelConfig
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
        `hidden_states`), and BOS for a trunk.
      config: the model.
    """
    return _apply(config, params, batch, method="branched")


def encode(params: Params, batch: Batch, config: EncoderDecoderConfig) -> Float[Array, "B S D"]:
    """Returns the encoder's outputs, without dropout."""
    encoded, _ = _apply(config, params, batch, method="encode")
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


def prefill(
    params: Params, batch: Batch, config: ModelConfig, *, max_decode_steps: int
) -> tuple[Cache, Float[Array, "B V"]]:
    """Runs the prompt once. Returns the cache, and the logits of the first token to decode.

    Encoder-decoder: the prompt is `encoder_input_tokens`; the decoder starts with the first column
    of `decoder_input_tokens` (BOS), or 0 where the batch has none.

    Decoder-only: the prompt is `decoder_input_tokens` where `decoder_causal_attention` is 1, else
    where `decoder_segment_ids` are above 0, else all of it; padding may be on either side.
    Positions are `decoder_positions`, or count the prompt's tokens from 0.

    Args:
      params: parameters.
      batch: one example a row.
      config: the model.
      max_decode_steps: how many times `decode_step` may be called on the cache. Calling it more
        often overwrites the last slot.
    """
    if config.architecture == "encoder_decoder":
        hidden, made, segments = _apply(config, params, batch, method="prefill")
        valid = jnp.ones(hidden.shape[:2], bool)
        names = caches.layer_slots(config)
        positions = jnp.zeros_like(valid, jnp.int32)
        cache = caches.create(made, valid, positions, max_decode_steps, names)
        cache = cache._replace(cross_mask=segments > 0)
        last = hidden[:, -1]
    else:
        valid = _prompt(batch)
        counted = jnp.maximum(jnp.cumsum(valid, axis=1) - 1, 0)
        positions = batch.get("decoder_positions", counted)
        hidden, made = _apply(config, params, batch, valid, positions, method="prefill")
        names = caches.layer_slots(config)
        window = config.attention_window
        cache = caches.create(made, valid, positions, max_decode_steps, names, window)
        rows = jnp.arange(valid.shape[1])[None]
        final = jnp.max(jnp.where(valid, rows, 0), axis=1)
        last = jnp.take_along_axis(hidden, final[:, None, None], axis=1)[:, 0]
    return cache, unembedding(params, config).logits(last)


def decode_step(
    params: Params, cache: Cache, tokens: Int[Array, " B"], config: ModelConfig
) -> tuple[Cache, Float[Array, "B V"]]:
    """Feeds one token a row. Returns the cache with it, and the logits of what follows.

    A loop is quicker with the parameters and the configuration that `unroll_layers` returns: of
    stacked ones each step copies every layer's.
    """
    params, config = unroll_layers(params, config)
    hidden, made = _apply(config, params, tokens, cache, method="step")
    output = unembedding(params, config)
    scaled = output.scaled(hidden[:, 0])
    tiled_matrix = params.get(LOGITS)
    product = output.product(scaled) if tiled_matrix is None else tiled_matrix.product(scaled)
    return caches.append(cache, made), output.finish(product)


def tile_kernels(params: Params, config: ModelConfig) -> Params:
    """Returns parameters for `decode_step` with few rows on a CPU; see `TiledKernel`.

    Args:
      params: with unrolled layers (`unroll_layers`). Kernels are copied, all else is not.
      config: the model, computing in float32.
    """
    matrix = unembedding(params, config).matrix
    return {**params, "decoder": tile_decoder(params["decoder"]), LOGITS: tiled(matrix)}


def unroll_layers(params: Params, config: ModelConfig) -> tuple[Params, ModelConfig]:
    """Returns the parameters with each layer's arrays on their own, and the configuration of that.

    Those of a scan are copied; others are returned as they are. Adapters and quantised kernels are
    taken apart like all else.
    """
    if not config.scan_layers:
        return params, config
    unrolled = dict(params)
    for name in ("encoder", "decoder"):
        if name not in params:
            continue
        stack = dict(params[name])
        scanned = stack.pop(name)
        num_layers = jax.tree.leaves(scanned)[0].shape[LAYERS_AXIS]
        for index in range(num_layers):
            stack[f"layers_{index}"] = jax.tree.map(
                lambda array, index=index: jax.lax.index_in_dim(
                    array, index, LAYERS_AXIS, keepdims=False
                ),
                scanned,
            )
        unrolled[name] = stack
    return unrolled, dataclasses.replace(config, scan_layers=False)


def _apply(
    config: ModelConfig,
    params: Params,
    *args: Any,
    method: str = "__call__",
    dropout_rng: jax.Array | None = None,
) -> Any:
    module = _module(config, deterministic=dropout_rng is None, emit_cache=method == "prefill")
    rngs = None if dropout_rng is None else {"dropout": dropout_rng}
    return module.apply({"params": params}, *args, method=method, rngs=rngs)


def _module(
    config: ModelConfig,
    *,
    deterministic: bool = True,
    emit_cache: bool = False,
    keeps: Keeps = NO_STATES,
) -> EncoderDecoder | DecoderOnly:
    if config.architecture == "encoder_decoder":
        return EncoderDecoder(config, deterministic, emit_cache, keeps)
    return DecoderOnly(config, deterministic, emit_cache, keeps.decoder)


def _prompt(batch: Batch) -> jax.Array:
    tokens = batch["decoder_input_tokens"]
    for name in ("decoder_causal_attention", "decoder_segment_ids"):
        if name in batch:
            return batch[name] > 0
    return jnp.ones_like(tokens, bool)


def _init_boxed(rng: jax.Array, config: ModelConfig) -> Any:
    tokens = jnp.zeros((1, 2), jnp.int32)
    names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    return _module(config).init({"params": rng}, dict.fromkeys(names, tokens))["params"]


@functools.lru_cache(maxsize=8)
def _abstract_boxed(config: ModelConfig) -> Any:
    return jax.eval_shape(functools.partial(_init_boxed, config=config), jax.random.key(0))
