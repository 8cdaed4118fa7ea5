"""A stack of layers, scanned or unrolled, with the position bias they share and the last norm."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from tlm_jax.models import masks
from tlm_jax.models.block import Block, BlockContext, LayersMade
from tlm_jax.models.norms import Norm
from tlm_jax.models.positions import AlibiBias, RelativeBias
from tlm_jax.models.projections import LogitsDense
from tlm_jax.models.specs import StackSpec

LAYERS_AXIS = 1
"""Where stacked parameters have their layers, as in T5X."""

POLICIES = {
    "minimal": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "dots_saveable": jax.checkpoint_policies.dots_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""Which results of the forward pass the backward pass need not compute again."""


class Stack(nn.Module):
    """Runs the layers of a spec over embedded inputs.

    Scanned parameters lie under `spec.scanned_name`, stacked along axis 1; unrolled ones under
    `layers_0`, `layers_1`, ...
    """

    spec: StackSpec
    dtype: str
    deterministic: bool = True
    emit_cache: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, context: BlockContext, cache: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, LayersMade]:
        """Returns normalised hidden states [B, T, D], and the cache made, stacked [L, ...]."""
        spec = self.spec
        context = context._replace(
            bias=self._shared_bias(x.shape[1], context), window_mask=self._window_mask(context)
        )
        x, made = (self._scan if spec.scan_layers else self._unroll)(x, context, cache)
        if spec.block.norm_position != "post":
            x = Norm(spec.block.norm, self.dtype, name=spec.norm_name)(x)
        broadcast_dims = (-2,) if spec.share_last_dropout else ()
        dropout = nn.Dropout(spec.block.dropout_rate, broadcast_dims=broadcast_dims)
        return dropout(x, deterministic=self.deterministic), made

    def _shared_bias(self, length: int, context: BlockContext) -> jax.Array | None:
        num_heads = self.spec.block.attention.num_heads
        if self.spec.shared_relative is not None:
            bias = RelativeBias(self.spec.shared_relative, num_heads, name="relpos_bias")
        elif self.spec.alibi:
            bias = AlibiBias(num_heads)
        else:
            return None
        return bias.full(length) if context.offsets is None else bias.at(context.offsets)

    def _window_mask(self, context: BlockContext) -> jax.Array | None:
        if self.spec.attention_window is None:
            return None
        offsets = context.offsets
        if offsets is None:
            offsets = context.positions[:, None, :] - context.positions[:, :, None]
        return context.mask & masks.within_window(offsets, self.spec.attention_window)

    def _windowed_layers(self) -> jax.Array | None:
        """Returns bool [L], so that one program serves layers with and without a window."""
        flags = self.spec.windowed_layers
        return None if flags is None else jnp.asarray(flags)

    def _scan(
        self, x: jax.Array, context: BlockContext, cache: Mapping[str, jax.Array] | None
    ) -> tuple[jax.Array, LayersMade]:
        scanned = nn.scan(
            self._block_class(),
            variable_axes={"params": LAYERS_AXIS},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0, 0),  # pyright: ignore[reportArgumentType]
            length=self.spec.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        block = self._build(scanned, self.spec.scanned_name)
        return block(x, context, cache, self._windowed_layers())

    def _unroll(
        self, x: jax.Array, context: BlockContext, cache: Mapping[str, jax.Array] | None
    ) -> tuple[jax.Array, LayersMade]:
        block_class = self._block_class()
        made = []
        layered = (cache, self._windowed_layers())
        for index in range(self.spec.num_layers):
            layer_cache, windowed = jax.tree.map(lambda array, index=index: array[index], layered)
            block = self._build(block_class, f"layers_{index}")
            x, layer_made = block(x, context, layer_cache, windowed)
            made.append(layer_made)
        return x, jax.tree.map(lambda *layers: jnp.stack(layers), *made)

    def _build(self, block_class: type[nn.Module], name: str) -> nn.Module:
        return block_class(
            self.spec.block, self.dtype, self.deterministic, self.emit_cache, name=name
        )

    def _block_class(self) -> type[nn.Module]:
        policy_name = self.spec.remat_policy
        if policy_name == "none":
            return Block
        # Within a scan XLA cannot merge the recomputation with the first computation anyway.
        return nn.remat(Block, policy=POLICIES[policy_name], prevent_cse=not self.spec.scan_layers)


class DecoderStack(Stack):
    """A stack with the logits matrix under its name, where T5X keeps it; it is not applied here."""

    vocab_size: int = 0
    logits_width: int = 0
    logits_kernel: bool = True
    logits_bias: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, context: BlockContext, cache: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, LayersMade]:
        """As `Stack`."""
        if self.logits_kernel or self.logits_bias:
            LogitsDense(self.vocab_size, self.logits_kernel, self.logits_bias, name="logits_dense")(
                self.logits_width
            )
        return super().__call__(x, context, cache)
