"""One transformer layer: self-attention, cross-attention where there is one, and MLP."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from tlm_jax.models import inner
from tlm_jax.models.attention import Attention
from tlm_jax.models.mlp import Mlp
from tlm_jax.models.norms import Norm
from tlm_jax.models.positions import RelativeBias
from tlm_jax.models.specs import BlockSpec
from tlm_jax.sharding.rules import constrain

LayersMade = dict[str, jax.Array]
"""Keys and values [B, K, T, H] that a layer made of T tokens: `key`, `value`, and with
cross-attention `cross_key`, `cross_value`. Called with a cache it makes one token more a row, and
`key` and `value` are those of the cache with it."""


class LayerCache(NamedTuple):
    """Keys and values of one layer; B rows go on from Q prompts, B / Q from each.

    Attributes:
      prompt_key: [Q, K, S, H].
      prompt_value: [Q, K, S, H].
      key: [B, K, S', H], of the tokens after the prompt.
      value: [B, K, S', H].
      cross_key: [Q, K, S'', H], of encoder outputs, where there is cross-attention.
      cross_value: [Q, K, S'', H].
    """

    prompt_key: jax.Array
    prompt_value: jax.Array
    key: jax.Array
    value: jax.Array
    cross_key: jax.Array | None = None
    cross_value: jax.Array | None = None


class LayerPrefix(NamedTuple):
    """Keys and values of one layer for tokens that stand before those of every row.

    Attributes:
      key: [1, K, P, H].
      value: [1, K, P, H].
    """

    key: jax.Array
    value: jax.Array


class BlockContext(NamedTuple):
    """What all layers of a stack read.

    Attributes:
      mask: bool [B, T, S]; with a cache [B, 1, S + S'], its slots with the token itself among them;
        with a prefix [B, T, P + ...], its tokens first.
      positions: int [B, T].
      bias: float [1 or B, N, T, S], shared by the layers; as `mask` with a cache.
      offsets: key position − query position, int, of the shape of `mask`; None means that rows
        count them: s − t. Needed with a cache or a prefix.
      encoded: encoder outputs [B, S, D]; not needed with a cache.
      cross_mask: bool [B, T, S].
      window_mask: as `mask`, for layers with a window.
      slot: with a cache, int [], where in S' the token goes.
      of_window: with a cache, the context of layers with a window, which have slots of their own.
    """

    mask: jax.Array
    positions: jax.Array
    bias: jax.Array | None = None
    offsets: jax.Array | None = None
    encoded: jax.Array | None = None
    cross_mask: jax.Array | None = None
    window_mask: jax.Array | None = None
    slot: jax.Array | None = None
    of_window: BlockContext | None = None


class Carried(NamedTuple):
    """What goes from layer to layer.

    Attributes:
      x: hidden states [B, T, D].
      kept: inner states of the layers before, where somebody asked for some.
    """

    x: jax.Array
    kept: inner.LayerStates | None = None


class Block(nn.Module):
    """A layer, named as in T5X.

    Called with the keys and values of earlier tokens, it works on one more token. It returns the
    keys and values it made if `emit_cache`, or if it was given a cache. `prefix` is attended to in
    front of all else. `windowed` (bool []) says
    whether this layer has a window, in a stack where some do; `place`, where its inner states go.
    """

    spec: BlockSpec
    dtype: str
    deterministic: bool = True
    emit_cache: bool = False

    @nn.compact
    def __call__(
        self,
        carried: Carried,
        context: BlockContext,
        cache: LayerCache | None,
        prefix: LayerPrefix | None = None,
        windowed: jax.Array | None = None,
        place: inner.Place | None = None,
    ) -> tuple[Carried, LayersMade]:
        made: dict[str, jax.Array] = {}
        states: dict[str, jax.Array] = {}
        name = self.spec.self_attention_name

        def attend(h: jax.Array) -> jax.Array:
            result, states["attention"] = self._self_attention(
                h, context, cache, prefix, windowed, made
            )
            return result

        def attend_to_encoded(h: jax.Array) -> jax.Array:
            result, states["cross_attention"] = self._cross_attention(h, context, cache, made)
            return result

        mlp = Mlp(self.spec.mlp, self.deterministic, name="mlp")
        x = constrain(carried.x, ("batch", "length", "embed"))
        if self.spec.parallel_residual:
            h = self._norm(f"pre_{name}_layer_norm")(x)
            mlp_input = self._norm("pre_mlp_layer_norm")(x) if self.spec.parallel_norms else h
            x += self._dropout(attend(h)) + self._dropout(mlp(mlp_input))
        else:
            x = self._sublayer(name, attend, x)
            if self.spec.cross_attention:
                x = self._sublayer("cross_attention", attend_to_encoded, x)
            x = self._sublayer("mlp", mlp, x)
        x = constrain(x, ("batch", "length", "embed"))
        kept = inner.with_layer(carried.kept, place, {**states, "hidden": x})
        return Carried(x, kept), made if self.emit_cache or cache is not None else {}

    def _self_attention(
        self,
        h: jax.Array,
        context: BlockContext,
        cache: LayerCache | None,
        prefix: LayerPrefix | None,
        windowed: jax.Array | None,
        made: dict[str, jax.Array],
    ) -> tuple[jax.Array, jax.Array]:
        spec = self.spec.attention
        attention = Attention(
            spec, h.shape[-1], self.deterministic, name=self.spec.self_attention_name
        )
        query = attention.queries(h, context.positions, windowed)
        key, value = attention.keys_and_values(h, context.positions, windowed)
        made |= {"key": key, "value": value}
        bias = context.bias
        if self.spec.relative is not None:
            relative = RelativeBias(self.spec.relative, spec.num_heads, name="relpos_bias")
            bias = (
                relative.full(h.shape[1])
                if context.offsets is None
                else relative.at(context.offsets)
            )
        mask = context.mask
        if windowed is not None:
            assert context.window_mask is not None
            mask = jnp.where(windowed, context.window_mask, mask)
        keys, values = (key,), (value,)
        if cache is not None:
            # Written before they are read: what the arrays held is of no use any more, so that XLA
            # changes them in place.
            made["key"] = _written(cache.key, key, context.slot)
            made["value"] = _written(cache.value, value, context.slot)
            keys, values = (cache.prompt_key, made["key"]), (cache.prompt_value, made["value"])
        if prefix is not None:
            keys, values = (prefix.key, *keys), (prefix.value, *values)
        return attention(query, keys, values, mask, bias)

    def _cross_attention(
        self,
        h: jax.Array,
        context: BlockContext,
        cache: LayerCache | None,
        made: dict[str, jax.Array],
    ) -> tuple[jax.Array, jax.Array]:
        attention = Attention(
            self.spec.attention, h.shape[-1], self.deterministic, name="encoder_decoder_attention"
        )
        query = attention.queries(h, None)
        if cache is None:
            assert context.encoded is not None
            key, value = attention.keys_and_values(context.encoded, None)
            made |= {"cross_key": key, "cross_value": value}
        else:
            key, value = cache.cross_key, cache.cross_value
            assert key is not None
            assert value is not None
        assert context.cross_mask is not None
        return attention(query, (key,), (value,), context.cross_mask)

    def _sublayer(
        self, name: str, function: Callable[[jax.Array], jax.Array], x: jax.Array
    ) -> jax.Array:
        before, after = f"pre_{name}_layer_norm", f"post_{name}_layer_norm"
        if self.spec.norm_position == "post":
            return self._norm(after)(x + self._dropout(function(x)))
        result = function(self._norm(before)(x))
        if self.spec.norm_position == "sandwich":
            result = self._norm(after)(result)
        return x + self._dropout(result)

    def _norm(self, name: str) -> Norm:
        return Norm(self.spec.norm, self.dtype, name=name)

    def _dropout(self, x: jax.Array) -> jax.Array:
        rate = self.spec.dropout_rate
        return nn.Dropout(rate, broadcast_dims=(-2,))(x, deterministic=self.deterministic)


def _written(array: jax.Array, token: jax.Array, slot: jax.Array | None) -> jax.Array:
    """Returns keys or values [B, K, S', H] with those of one token [B, K, 1, H] at a slot."""
    assert slot is not None
    return jax.lax.dynamic_update_slice_in_dim(array, token, slot, axis=2)
