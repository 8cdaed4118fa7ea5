"""Reads config.json in both its forms, and refuses what our models do not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.models.specs import RotaryScaling

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
_THEIR_ACTIVATIONS = {
    "relu": "relu",
    "gelu_exact": "gelu",
    "gelu": "gelu_new",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


class Fields:
    """The fields of a config.json, with what transformers assumes where one is absent."""

    def __init__(self, fields: Mapping[str, Any]):
        self._fields = fields

    def get(self, *names: str, default: Any) -> Any:
        """Returns the first of the fields that is there and not null, else the default."""
        for name in names:
            if self._fields.get(name) is not None:
                return self._fields[name]
        return default

    def require(self, *names: str) -> Any:
        """Returns the first of the fields that is there.

        Raises:
          UserError: none is.
        """
        found = self.get(*names, default=None)
        if found is None:
            raise UserError(f"config.json has no {' or '.join(map(repr, names))}")
        return found

    def refuse_unless(self, name: str, expected: Any, why: str) -> None:
        """Checks that a field is absent, null or as expected.

        Raises:
          UserError: it has another value, which our models do not serve.
        """
        found = self._fields.get(name)
        if found is not None and found != expected:
            raise UserError(
                f"config.json has {name}={found!r}; only {expected!r} is supported ({why})"
            )

    def activation(self, *names: str, default: str) -> str:
        """Returns our name of an activation.

        Raises:
          UserError: we have none like it.
        """
        return self.named_activation(self.get(*names, default=default))

    def named_activation(self, theirs: str) -> str:
        """As `activation`, of a name that is no field by itself."""
        if theirs not in _ACTIVATIONS:
            raise UserError(
                f"config.json has the activation {theirs!r}; expected one of "
                f"{', '.join(_ACTIVATIONS)}"
            )
        return _ACTIVATIONS[theirs]

    def rotary(self, kind: str | None = None, *, base: float = 10_000.0) -> dict[str, Any]:
        """Returns `rotary_base` and `rotary_scaling` of our configuration.

        transformers 5 writes `rope_parameters` with base and scaling together, for models with two
        kinds of layers under the kind's name; before, there were `rope_theta` and `rope_scaling`.

        Args:
          kind: of layer, such as "full_attention", in models that have several.
          base: where config.json does not say.
        """
        found = self._fields.get("rope_parameters")
        if isinstance(found, Mapping):
            if kind is not None and isinstance(found.get(kind), Mapping):
                found = found[kind]
        else:
            found = self._fields.get("rope_scaling") or {}
        base = found.get("rope_theta", self.get("rope_theta", "rotary_emb_base", default=base))
        return {"rotary_base": float(base), "rotary_scaling": _scaling(found)}


def their_activation(ours: str) -> str:
    """Returns transformers' name of one of our activations."""
    return _THEIR_ACTIVATIONS[ours]


def rope_fields(base: float, scaling: RotaryScaling | None) -> dict[str, Any]:
    """Returns `rope_theta` and `rope_scaling`, the form that all versions read."""
    return {"rope_theta": base, "rope_scaling": _their_scaling(scaling)}


def _scaling(found: Mapping[str, Any]) -> RotaryScaling | None:
    kind = found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return RotaryScaling(kind="linear", factor=float(found["factor"]))
    if kind == "llama3":
        return RotaryScaling(
            kind="llama3",
            factor=float(found["factor"]),
            low_freq_factor=float(found["low_freq_factor"]),
            high_freq_factor=float(found["high_freq_factor"]),
            original_max_positions=int(found["original_max_position_embeddings"]),
        )
    raise UserError(
        f"config.json scales rotary positions by {kind!r}; expected 'default', 'linear' or 'llama3'"
    )


def _their_scaling(scaling: RotaryScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    theirs: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        theirs |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_positions,
        }
    return theirs
