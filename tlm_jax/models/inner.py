"""Inner states of chosen layers, kept on the way through a stack for whoever asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tlm_jax.errors import UserError
from tlm_jax.models.specs import StackSpec
from tlm_jax.sharding.rules import LogicalAxes, constrain


@dataclasses.dataclass(frozen=True)
class KeptLayers:
    """Layers of a stack whose states are kept, counted from 0, ascending; none by default.

    Attributes:
      hidden: those whose result is kept.
      attention: those whose self-attention is kept.
      cross_attention: those whose attention to the encoder's outputs is kept.
    """

    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()
    cross_attention: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for layers in dataclasses.astuple(self):
            assert all(a < b for a, b in zip((-1, *layers), layers)), "expected ascending layers"

    def require_in(self, stack: StackSpec | None, name: str) -> None:
        """Checks that a stack has what is to be kept.

        Args:
          stack: None where the model has none of this name.
          name: for the message.

        Raises:
          UserError: it has not.
        """
        if self == NOTHING:
            return
        if stack is None:
            raise UserError(f"inner states are asked of the {name}, which the model has not")
        if self.cross_attention and not stack.block.cross_attention:
            raise UserError(f"cross-attention is asked of the {name}, which has none")
        last = max(layer for layers in dataclasses.astuple(self) for layer in layers)
        if last >= stack.num_layers:
            raise UserError(
                f"inner states are asked of layer {last} of the {name}, whose last is layer "
                f"{stack.num_layers - 1}"
            )

    def places(self, num_layers: int) -> Place | None:
        """Returns each layer's place among those kept, arrays [num_layers]; None: nothing is kept.

        A layer that is not kept has some place, too, but is not `kept` there.
        """
        if self == NOTHING:
            return None

        def of(layers: tuple[int, ...]) -> Slot | None:
            if not layers:
                return None
            kept = np.isin(np.arange(num_layers), layers)
            return Slot(np.maximum(np.cumsum(kept) - 1, 0).astype(np.int32), kept)

        return Place(of(self.hidden), of(self.attention), of(self.cross_attention))

    def of_layer(self, index: int) -> KeptLayers:
        """Returns what is kept of one layer, as of a stack that has no other."""
        return KeptLayers(
            *((0,) if index in layers else () for layers in dataclasses.astuple(self))
        )

    def only_place(self) -> Place | None:
        """Returns the place of the only layer, as of `of_layer`."""
        return jax.tree.map(lambda array: array[0], self.places(1))


NOTHING = KeptLayers()


class Keeps(NamedTuple):
    """Whose states are kept; nothing by default.

    Attributes:
      decoder: the decoder's layers, or those of a decoder-only model.
      encoder: the encoder's layers, which have no cross-attention.
    """

    decoder: KeptLayers = NOTHING
    encoder: KeptLayers = NOTHING

    def require_in(self, stacks: Mapping[str, StackSpec]) -> None:
        """Checks that a model has what is to be kept.

        Args:
          stacks: the model's, by name.

        Raises:
          UserError: it has not.
        """
        for name, kept in self._asdict().items():
            kept.require_in(stacks.get(name), name)


NO_STATES = Keeps()


class LayerStates(NamedTuple):
    """States of the layers that `KeptLayers` names, in its order; None where it names none.

    Attributes:
      hidden: what a layer hands to the next one, before the stack's last norm; that of the last
        layer of a model with `norm_position="post"` is normalised, as the layer itself does it.
        Transformers' `hidden_states[layer + 1]`, but for the last, which it gives after the norm.
      attention: float32 softmax probabilities, before dropout; those that a mask hides are 0. A
        query that may see nothing attends to all alike.
      cross_attention: as `attention`.
    """

    hidden: Float[Array, "L B T D"] | None = None
    attention: Float[Array, "L B N T T"] | None = None
    cross_attention: Float[Array, "L B N T S"] | None = None


class InnerStates(NamedTuple):
    """What `layer_states` returns.

    Attributes:
      last: as `hidden_states`.
      decoder: of the decoder's layers.
      encoder: of the encoder's.
    """

    last: Float[Array, "B T D"]
    decoder: LayerStates
    encoder: LayerStates


class Slot(NamedTuple):
    """Where a layer's state goes, and whether it is kept at all."""

    number: Int[Array | np.ndarray, "*L"]
    kept: Bool[Array | np.ndarray, "*L"]


class Place(NamedTuple):
    """A `Slot` for each of the `LayerStates`; of one layer, or stacked."""

    hidden: Slot | None
    attention: Slot | None
    cross_attention: Slot | None


def room(
    kept: KeptLayers, x: jax.Array, num_heads: int, encoded: jax.Array | None
) -> LayerStates | None:
    """Returns zeros for the states to come, or None where nothing is kept.

    Args:
      kept: which.
      x: what goes into the stack, [B, T, D].
      num_heads: N.
      encoded: the encoder's outputs [B, S, D], where the stack attends to them.
    """
    if kept == NOTHING:
        return None
    B, T, _ = x.shape
    sources = 0 if encoded is None else encoded.shape[1]

    def zeros(name: str, shape: tuple[int, ...], dtype: Any) -> jax.Array | None:
        layers = len(getattr(kept, name))
        if layers == 0:
            return None
        return constrain(jnp.zeros((layers, *shape), dtype), (None, *_AXES[name]))

    return LayerStates(
        zeros("hidden", x.shape, x.dtype),
        zeros("attention", (B, num_heads, T, T), jnp.float32),
        zeros("cross_attention", (B, num_heads, T, sources), jnp.float32),
    )


def with_layer(
    states: LayerStates | None, place: Place | None, layer: dict[str, jax.Array]
) -> LayerStates | None:
    """Returns the states with those of one more layer.

    Args:
      states: from `room`, with those of the layers before it.
      place: the layer's.
      layer: its states by name; attention by groups of heads, [B, K, G, T, S].
    """
    if states is None or place is None:
        return states

    def put(name: str, array: jax.Array, slot: Slot) -> jax.Array:
        state = layer[name].reshape(array.shape[1:])
        before = jax.lax.dynamic_index_in_dim(array, slot.number, 0, keepdims=False)
        state = jnp.where(slot.kept, state, before)
        changed = jax.lax.dynamic_update_index_in_dim(array, state, slot.number, 0)
        return constrain(changed, (None, *_AXES[name]))

    return LayerStates(
        *(
            None if array is None or slot is None else put(name, array, slot)
            for name, array, slot in zip(LayerStates._fields, states, place)
        )
    )


def joined(parts: Sequence[LayerStates | None]) -> LayerStates | None:
    """Returns the states of layers that were kept one by one."""
    states = [part for part in parts if part is not None]
    if not states:
        return None

    def concatenated(arrays: Sequence[jax.Array | None]) -> jax.Array | None:
        given = [array for array in arrays if array is not None]
        return jnp.concatenate(given) if given else None

    return LayerStates(*map(concatenated, zip(*states)))


_AXES: dict[str, LogicalAxes] = {
    "hidden": ("batch", "length", "embed"),
    "attention": ("batch", "heads", "length", None),
    "cross_attention": ("batch", "heads", "length", None),
}
