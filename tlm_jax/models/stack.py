"""A stack of layers, scanned or unrolled, with the position bias they share and the last norm."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from tlm_jax.models import inner, masks
from tlm_jax.models.block import (
    Block,
    BlockContext,
    Carried,
    LayerCache,
    LayerPrefix,
    LayersMade,
)
from tlm_jax.models.norms import Norm
from tlm_jax.models.positions import AlibiBias, RelativeBias
from tlm_jax.models.projections import LogitsDense
from tlm_jax.models.specs import StackSpec

LAYERS_AXIS = 1
"""Where stacked parameters have their layers, as in T5X."""

STATES = "states"
"""The collection of inner states."""

POLICIES = {
    "minimal": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "dots_saveable": jax.checkpoint_policies.dots_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""Which results of the forward pass the backward pass need not compute again."""


class Stack(nn.Module):
    """Runs the layers of a spec over embedded inputs.

    Scanned parameters lie under `spec.scanned_name`, stacked along axis 1; unrolled ones under
    `layers_0`, `layers_1`, ... With a cache, layers are unrolled. Inner states that
    `keeps` asks for go to the collection `STATES` under the stack's name, where that is mutable.
    """

    spec: StackSpec
    dtype: str
    deterministic: bool = True
    emit_cache: bool = False
    keeps: inner.KeptLayers = inner.NOTHING

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        context: BlockContext,
        cache: Sequence[LayerCache] | None = None,
        prefix: Sequence[LayerPrefix] | None = None,
    ) -> tuple[jax.Array, list[LayersMade]]:
        """Returns normalised hidden states [B, T, D], and what each layer made, if asked for."""
        spec = self.spec
        bias = self._shared_bias_module()
        context = self._completed(context, bias, x.shape[1])
        if context.of_window is not None:
            of_window = self._completed(context.of_window, bias, x.shape[1])
            context = context._replace(of_window=of_window)
        if spec.scan_layers:
            assert cache is None, "scanned layers have no cache: models.unroll_layers"
            (x, states), made = self._scan(x, context, prefix)
        else:
            (x, states), made = self._unroll(x, context, cache, prefix)
        if states is not None:
            self.sow(STATES, "layers", states)
        if spec.block.norm_position != "post":
            x = Norm(spec.block.norm, self.dtype, name=spec.norm_name)(x)
        broadcast_dims = (-2,) if spec.share_last_dropout else ()
        dropout = nn.Dropout(spec.block.dropout_rate, broadcast_dims=broadcast_dims)
        return dropout(x, deterministic=self.deterministic), made

    def _shared_bias_module(self) -> RelativeBias | AlibiBias | None:
        num_heads = self.spec.block.attention.num_heads
        if self.spec.shared_relative is not None:
            return RelativeBias(self.spec.shared_relative, num_heads, name="relpos_bias")
        return AlibiBias(num_heads) if self.spec.alibi else None

    def _completed(
        self, context: BlockContext, shared: RelativeBias | AlibiBias | None, length: int
    ) -> BlockContext:
        """Returns the context with the bias that layers share, and the mask of their window."""
        bias = None
        if shared is not None:
            offsets = context.offsets
            bias = shared.full(length) if offsets is None else shared.at(offsets)
        return context._replace(bias=bias, window_mask=self._window_mask(context))

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

    def _room(
        self, keeps: inner.KeptLayers, x: jax.Array, context: BlockContext
    ) -> inner.LayerStates | None:
        num_heads = self.spec.block.attention.num_heads
        return inner.room(keeps, x, num_heads, context.encoded)

    def _scan(
        self, x: jax.Array, context: BlockContext, prefix: Sequence[LayerPrefix] | None
    ) -> tuple[Carried, list[LayersMade]]:
        scanned = nn.scan(
            self._block_class(),
            variable_axes={"params": LAYERS_AXIS},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0, 0, 0, 0),  # pyright: ignore[reportArgumentType]
            length=self.spec.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        block = self._build(scanned, self.spec.scanned_name)
        places = self.keeps.places(self.spec.num_layers)
        carried = Carried(x, self._room(self.keeps, x, context))
        before = None if prefix is None else jax.tree.map(lambda *a: jnp.stack(a), *prefix)
        carried, stacked = block(carried, context, None, before, self._windowed_layers(), places)
        layers = range(self.spec.num_layers)
        return carried, [
            {name: array[index] for name, array in stacked.items()} for index in layers
        ]

    def _unroll(
        self,
        x: jax.Array,
        context: BlockContext,
        cache: Sequence[LayerCache] | None,
        prefix: Sequence[LayerPrefix] | None,
    ) -> tuple[Carried, list[LayersMade]]:
        block_class = self._block_class()
        flags = self.spec.windowed_layers
        made = []
        states: list[inner.LayerStates | None] = []
        for index in range(self.spec.num_layers):
            block = self._build(block_class, f"layers_{index}")
            layer_cache = None if cache is None else cache[index]
            before = None if prefix is None else prefix[index]
            windowed = None if flags is None else jnp.asarray(flags[index])
            own_slots = context.of_window if flags is not None and flags[index] else None
            keeps = self.keeps.of_layer(index)
            carried = Carried(x, self._room(keeps, x, context))
            (x, layer_states), layer_made = block(
                carried, own_slots or context, layer_cache, before, windowed, keeps.only_place()
            )
            made.append(layer_made)
            states.append(layer_states)
        return Carried(x, inner.joined(states)), made

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
        self,
        x: jax.Array,
        context: BlockContext,
        cache: Sequence[LayerCache] | None = None,
        prefix: Sequence[LayerPrefix] | None = None,
    ) -> tuple[jax.Array, list[LayersMade]]:
        """As `Stack`."""
        if self.logits_kernel or self.logits_bias:
            LogitsDense(self.vocab_size, self.logits_kernel, self.logits_bias, name="logits_dense")(
                self.logits_width
            )
        return super().__call__(x, context, cache, prefix)
