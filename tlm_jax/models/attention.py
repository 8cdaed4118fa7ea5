"""Multi-head, grouped and multi-query attention."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from tlm_jax.models.norms import Norm
from tlm_jax.models.positions import rotate
from tlm_jax.models.projections import FAN_IN_NORMAL, Projection
from tlm_jax.models.specs import AttentionSpec
from tlm_jax.sharding.rules import constrain

MASKED_LOGIT = -1e10
"""Logit of a masked pair. Finite, so that a query that may see nothing attends to all alike."""


class Attention(nn.Module):
    """Projects to heads, attends, and projects back.

    Kernels are T5X's: `query` [D, N·H], `key` and `value` [D, K·H], `out` [N·H, D], normal with
    variance 1 / (size of the input); T5X further divides the query's by √H, where attention
    logits are not (`scale` = 1), so that logits start alike.
    """

    spec: AttentionSpec
    embed_dim: int
    deterministic: bool = True

    def setup(self) -> None:
        spec = self.spec
        query_init = _divided(FAN_IN_NORMAL, spec.head_dim**0.5 * spec.scale)
        self.query = self._to_heads(spec.num_heads, query_init)
        self.key = self._to_heads(spec.num_kv_heads, FAN_IN_NORMAL)
        self.value = self._to_heads(spec.num_kv_heads, FAN_IN_NORMAL)
        self.out = Projection(
            self.embed_dim, ("joined_kv", "embed"), spec.out_bias, spec.dtype, FAN_IN_NORMAL
        )
        self.dropout = nn.Dropout(spec.dropout_rate, broadcast_dims=(-2,))
        if spec.qk_norm is not None:
            self.query_norm = Norm(spec.qk_norm, spec.dtype, "kv")
            self.key_norm = Norm(spec.qk_norm, spec.dtype, "kv")

    def queries(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"] | None,
        windowed: Bool[Array, ""] | None = None,
    ) -> Float[Array, "B T N H"]:
        """Returns scaled queries, rotated to `positions` where the model rotates.

        `windowed` says whether the layer has a window, for rotation that differs there.
        """
        spec = self.spec
        query = self.query(x).reshape(*x.shape[:2], spec.num_heads, spec.head_dim)
        query = constrain(query, ("batch", "length", "heads", "kv"))
        if spec.qk_norm is not None:
            query = self.query_norm(query)
        if spec.rotary is not None and positions is not None:
            query = rotate(query, positions, spec.rotary, windowed)
        if spec.scale == 1.0:
            return query
        # A factor such as 1/12 would be off by 0.2 % in bfloat16, and every logit with it.
        return (query.astype(jnp.float32) * spec.scale).astype(query.dtype)

    def keys_and_values(
        self,
        x: Float[Array, "B S D"],
        positions: Int[Array, "B S"] | None,
        windowed: Bool[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B K S H"], Float[Array, "B K S H"]]:
        """Returns keys and values with heads before positions, as the cache holds them.

        Keys are rotated as queries are.
        """
        spec = self.spec
        shape = (*x.shape[:2], spec.num_kv_heads, spec.head_dim)
        axes = ("batch", "length", "kv_heads", "kv")
        key = constrain(self.key(x).reshape(shape), axes)
        value = constrain(self.value(x).reshape(shape), axes)
        if spec.qk_norm is not None:
            key = self.key_norm(key)
        if spec.rotary is not None and positions is not None:
            key = rotate(key, positions, spec.rotary, windowed)
        return jnp.einsum("bskh->bksh", key), jnp.einsum("bskh->bksh", value)

    def __call__(
        self,
        query: Float[Array, "B T N H"],
        keys: tuple[Float[Array, "_ K _ H"], ...],
        values: tuple[Float[Array, "_ K _ H"], ...],
        mask: Bool[Array, "#B T S"],
        bias: Float[Array, "#B N T S"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B K G T S"]]:
        """Returns `out(softmax(cap(q · k) + bias) v)`, and the float32 softmax before dropout.

        Args:
          query: from `queries`.
          keys: one array, or several whose S axes follow each other: prompts and what comes after
            them need not be copied together. One of Q < B rows is shared: query rows 0 to
            B / Q − 1 attend to its first row, and so on.
          values: as `keys`.
          mask: True where a query may see a key.
          bias: added to the logits.
        """
        spec = self.spec
        B, T, N, H = query.shape
        grouped = query.reshape(B, T, spec.num_kv_heads, N // spec.num_kv_heads, H)
        logits = _join([_products(grouped, key) for key in keys])
        if spec.soft_cap is not None:
            logits = spec.soft_cap * jnp.tanh(logits / spec.soft_cap)
        if bias is not None:
            logits += _bias_of_rows(bias, B).reshape(-1, *logits.shape[1:3], *bias.shape[2:])
        logits = jnp.where(mask[:, None, None], logits, MASKED_LOGIT)
        probabilities = jax.nn.softmax(logits)
        weights = probabilities.astype(spec.dtype)
        weights = self.dropout(weights, deterministic=self.deterministic)
        ends = np.cumsum([value.shape[2] for value in values])
        parts = jnp.split(weights, ends[:-1], axis=-1)
        results = [_mixed(part, value) for part, value in zip(parts, values)]
        result = functools.reduce(jnp.add, results)
        joined = constrain(result.reshape(B, T, N * H), ("batch", "length", "joined_kv"))
        return self.out(joined), probabilities

    def _to_heads(self, num_heads: int, init: nn.initializers.Initializer) -> Projection:
        features = num_heads * self.spec.head_dim
        axes = ("embed", "joined_kv")
        return Projection(features, axes, self.spec.qkv_bias, self.spec.dtype, init)


def _products(
    query: Float[Array, "B T K G H"], key: Float[Array, "Q K S H"]
) -> Float[Array, "B K G T S"]:
    B, Q = query.shape[0], key.shape[0]
    if B == Q:
        return jnp.einsum("btkgh,bksh->bkgts", query, key, preferred_element_type=jnp.float32)
    together = query.reshape(Q, B // Q, *query.shape[1:])
    logits = jnp.einsum("qmtkgh,qksh->qmkgts", together, key, preferred_element_type=jnp.float32)
    return logits.reshape(B, *logits.shape[2:])


def _mixed(
    weights: Float[Array, "B K G T S"], value: Float[Array, "Q K S H"]
) -> Float[Array, "B T K G H"]:
    B, Q, T = weights.shape[0], value.shape[0], weights.shape[3]
    if B == Q and T > 1:
        return jnp.einsum("bkgts,bksh->btkgh", weights, value)
    together = weights.reshape(Q, B // Q, *weights.shape[1:])
    # Results in the order of a batched product: asked for another, einsum swaps the operands, and
    # with few rows XLA's product of those takes up to sixteen times as long on CPU.
    mixed = jnp.einsum("qmkgts,qksh->qkmgth", together, value)
    mixed = jnp.einsum("qkmgth->qmtkgh", mixed)
    return mixed.reshape(B, *mixed.shape[2:])


def _bias_of_rows(bias: jax.Array, rows: int) -> jax.Array:
    """Returns a bias [1, N, T, S] for every row; one that has rows, as it is.

    Forwards this is a broadcast. Written as a product its gradient, the sum over rows, is a product
    too: XLA's sum over few rows of large arrays takes 50 times as long on CPU.
    """
    if bias.shape[0] == rows:
        return bias
    ones = jnp.ones(rows, bias.dtype)
    return jnp.einsum("b,xnts->bnts", ones, bias, precision=jax.lax.Precision.HIGHEST)


def _join(parts: list[jax.Array]) -> jax.Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _divided(init: nn.initializers.Initializer, divisor: float) -> nn.initializers.Initializer:
    if divisor == 1.0:
        return init
    return lambda key, shape, dtype: init(key, shape, dtype) / divisor
