"""Pure functions over parameter trees: prompts that are worked on once, and steps that follow."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax.models import cache as caches
from tlm_jax.models.api import unembedding
from tlm_jax.models.block import LayerPrefix, LayersMade
from tlm_jax.models.cache import Cache
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.modules import apply
from tlm_jax.models.prefix import Prefix, blank
from tlm_jax.models.stack import LAYERS_AXIS
from tlm_jax.models.tiled import LOGITS, tile_decoder, tiled
from tlm_jax.types import Batch, Params

PIECE = 512
"""How many tokens of a long prefix are worked on at a time."""


def prefill(
    params: Params,
    batch: Batch,
    config: ModelConfig,
    *,
    max_decode_steps: int,
    prefix: Prefix | None = None,
) -> tuple[Cache, Float[Array, "B V"]]:
    """Runs the prompt once. Returns the cache, and the logits of the first token to decode.

    Encoder-decoder: the prompt is `encoder_input_tokens`; the decoder starts with the first column
    of `decoder_input_tokens` (BOS), or 0 where the batch has none.

    Decoder-only: the prompt is `decoder_input_tokens` where `decoder_causal_attention` is 1, else
    where `decoder_segment_ids` are above 0, else all of it; padding may be on either side.
    Positions are `decoder_positions`, or count the prompt's tokens from 0, or from the prefix on.

    Args:
      params: parameters.
      batch: one example a row.
      config: the model.
      max_decode_steps: how many times `decode_step` may be called on the cache. Calling it more
        often overwrites the last slot.
      prefix: what all prompts begin with, of which rows hold the rest, at least one token; a causal
        decoder-only model's only. It is no part of the cache: `decode_step` wants it again.
    """
    if config.architecture == "encoder_decoder":
        assert prefix is None, "only a causal decoder-only model has a prefix"
        hidden, made, segments = apply(config, params, batch, method="prefill")
        valid = jnp.ones(hidden.shape[:2], bool)
        names = caches.layer_slots(config)
        positions = jnp.zeros_like(valid, jnp.int32)
        cache = caches.create(made, valid, positions, max_decode_steps, names)
        cache = cache._replace(cross_mask=segments > 0)
        last = hidden[:, -1]
    else:
        valid = _prompt(batch)
        counted = jnp.maximum(jnp.cumsum(valid, axis=1) - 1, 0)
        first = 0 if prefix is None else prefix.length
        positions = batch.get("decoder_positions", counted + first)
        hidden, made = apply(config, params, batch, valid, positions, prefix, method="prefill")
        names = caches.layer_slots(config)
        window = config.attention_window
        cache = caches.create(made, valid, positions, max_decode_steps, names, window)
        rows = jnp.arange(valid.shape[1])[None]
        final = jnp.max(jnp.where(valid, rows, 0), axis=1)
        last = jnp.take_along_axis(hidden, final[:, None, None], axis=1)[:, 0]
    return cache, unembedding(params, config).logits(last)


def decode_step(
    params: Params,
    cache: Cache,
    tokens: Int[Array, " B"],
    config: ModelConfig,
    *,
    prefix: Prefix | None = None,
) -> tuple[Cache, Float[Array, "B V"]]:
    """Feeds one token a row. Returns the cache with it, and the logits of what follows.

    A loop is quicker with the parameters and the configuration that `unroll_layers` returns: of
    stacked ones each step copies every layer's. `prefix` is the one that `prefill` was given.
    """
    params, config = unroll_layers(params, config)
    before = () if prefix is None else (prefix,)
    hidden, made = apply(config, params, tokens, cache, *before, method="step")
    output = unembedding(params, config)
    scaled = output.scaled(hidden[:, 0])
    tiled_matrix = params.get(LOGITS)
    product = output.product(scaled) if tiled_matrix is None else tiled_matrix.product(scaled)
    return caches.append(cache, made), output.finish(product)


def read_prefix(
    params: Params, tokens: Int[Array, "1 P"], mask: Bool[Array, "1 P"], config: ModelConfig
) -> Prefix:
    """Runs tokens that many prompts begin with, for `prefill`, `decode_step` and branched rows.

    Args:
      params: parameters.
      tokens: from position 0 on, padded on the right. More than `PIECE` are worked on in pieces, so
        that no attention logits [P, P] are held.
      mask: which are not padding; at least one.
      config: a causal decoder-only model.
    """
    assert config.is_causal, "keys and values of a prefix depend on what follows it"
    mask = mask > 0
    P = tokens.shape[1]
    positions = jnp.minimum(jnp.arange(P)[None], jnp.sum(mask) - 1).astype(jnp.int32)

    def made(start: Any, size: int, before: Prefix | None) -> list[LayersMade]:
        def piece(array: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(array, start, size, axis=1)

        batch = {"decoder_input_tokens": piece(tokens)}
        arguments = (batch, piece(mask), piece(positions))
        _, layers = apply(config, params, *arguments, before, method="prefill")
        return layers

    if P <= PIECE:
        layers = tuple(LayerPrefix(new["key"], new["value"]) for new in made(0, P, None))
        return Prefix(layers, mask, positions)

    def add(prefix: Prefix, start: jax.Array) -> tuple[Prefix, None]:
        # The last piece overlaps with the one before it, whose tokens it works on again.
        before = prefix._replace(mask=mask & (jnp.arange(P)[None] < start))
        layers = [
            LayerPrefix(
                jax.lax.dynamic_update_slice_in_dim(old.key, new["key"], start, axis=2),
                jax.lax.dynamic_update_slice_in_dim(old.value, new["value"], start, axis=2),
            )
            for old, new in zip(prefix.layers, made(start, PIECE, before), strict=True)
        ]
        return prefix._replace(layers=tuple(layers)), None

    shapes = jax.eval_shape(lambda: made(0, PIECE, None))
    starts = jnp.asarray([*range(0, P - PIECE, PIECE), P - PIECE], jnp.int32)
    room = blank(shapes[0]["key"], len(shapes), P)._replace(mask=mask, positions=positions)
    return jax.lax.scan(add, room, starts)[0]


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


def _prompt(batch: Batch) -> jax.Array:
    tokens = batch["decoder_input_tokens"]
    for name in ("decoder_causal_attention", "decoder_segment_ids"):
        if name in batch:
            return batch[name] > 0
    return jnp.ones_like(tokens, bool)
