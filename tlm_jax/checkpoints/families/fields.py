"""Reads config.json in both its forms, and refuses what our models do not do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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


class _Kind(NamedTuple):
    """What a field has to be: in words, and the check."""

    expected: str
    fits: Callable[[Any], bool]


def _whole(least: int, most: int) -> _Kind:
    return _Kind(
        f"a whole number from {least:,} to {most:,}",
        lambda value: type(value) is int and least <= value <= most,
    )


def _is_attention_types(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], list)
        and _LAYERS.fits(entry[1])
        for entry in value
    )


# Far above every model, and low enough that a damaged number is refused and not computed with.
_SIZE = _whole(1, 10_000_000)
_LAYERS = _whole(1, 10_000)
_POSITIVE = _Kind(
    "a number above 0", lambda value: type(value) in (int, float) and 0 < value < math.inf
)
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_NAME = _Kind("a name", lambda value: isinstance(value, str))
_OBJECT = _Kind("an object with fields", lambda value: isinstance(value, Mapping))
_LAYER_KINDS = ("full_attention", "sliding_attention")

_KINDS: Mapping[str, _Kind] = {
    **dict.fromkeys(("vocab_size", "hidden_size", "n_embd", "n_embed", "d_model"), _SIZE),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "num_key_value_heads"), _SIZE),
    **dict.fromkeys(("head_dim", "d_kv", "rotary_dim", "word_embed_proj_dim"), _SIZE),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff"), _SIZE),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), _SIZE),
    **dict.fromkeys(("relative_attention_num_buckets", "relative_attention_max_distance"), _SIZE),
    **dict.fromkeys(("sliding_window", "window_size", "sliding_window_pattern"), _SIZE),
    "original_max_position_embeddings": _SIZE,
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers"), _LAYERS),
    "max_window_layers": _whole(0, 10_000),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps"), _POSITIVE),
    **dict.fromkeys(("rope_theta", "rotary_emb_base", "rope_local_base_freq"), _POSITIVE),
    **dict.fromkeys(("factor", "low_freq_factor", "high_freq_factor"), _POSITIVE),
    **dict.fromkeys(("rotary_pct", "partial_rotary_factor", "query_pre_attn_scalar"), _POSITIVE),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), _POSITIVE),
    **dict.fromkeys(("tie_word_embeddings", "scale_decoder_outputs"), _FLAG),
    **dict.fromkeys(("attention_bias", "mlp_bias", "enable_bias"), _FLAG),
    **dict.fromkeys(("use_sliding_window", "use_parallel_residual", "do_layer_norm_before"), _FLAG),
    **dict.fromkeys(("hidden_act", "hidden_activation", "activation_function"), _NAME),
    **dict.fromkeys(("feed_forward_proj", "rope_type", "type"), _NAME),
    **dict.fromkeys(("rope_parameters", "rope_scaling", *_LAYER_KINDS), _OBJECT),
    "layer_types": _Kind(
        f"a list of {' and '.join(map(repr, _LAYER_KINDS))}",
        lambda value: isinstance(value, list) and all(kind in _LAYER_KINDS for kind in value),
    ),
    "attention_types": _Kind("a list such as [[['global', 'local'], 12]]", _is_attention_types),
}
"""Every field that a family reads, whichever of them has it."""


class Fields:
    """The fields of a config.json, with what transformers assumes where one is absent."""

    def __init__(self, fields: Mapping[str, Any]):
        self._fields = fields

    def get(self, *names: str, default: Any) -> Any:
        """Returns the first of the fields that is there and not null, else the default.

        Raises:
          UserError: it is not what a field of its name has to be.
        """
        for name in names:
            kind = _KINDS.get(name)
            if kind is None:
                raise NotImplementedError(
                    f"no kind of value is known for the field {name!r} of a config.json: add it to "
                    f"_KINDS in {__name__}"
                )
            found = self._fields.get(name)
            if found is None:
                continue
            if not kind.fits(found):
                raise UserError(f"its configuration has {name}={found!r}; expected {kind.expected}")
            return found
        return default

    def get_or_null(self, name: str, *, absent: Any) -> Any:
        """As `get` of a field in which null has a meaning of its own and is returned as None."""
        return self.get(name, default=None if name in self._fields else absent)

    def require(self, *names: str) -> Any:
        """Returns the first of the fields that is there.

        Raises:
          UserError: none is, or as `get`.
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

    def named_activation(self, hf_activation: str) -> str:
        """As `activation`, of a name that is no field by itself."""
        if hf_activation not in _ACTIVATIONS:
            raise UserError(
                f"config.json has the activation {hf_activation!r}; expected one of "
                f"{', '.join(_ACTIVATIONS)}"
            )
        return _ACTIVATIONS[hf_activation]

    def rotary(self, kind: str | None = None, *, base: float = 10_000.0) -> dict[str, Any]:
        """Returns `rotary_base` and `rotary_scaling` of our configuration.

        transformers 5 writes `rope_parameters` with base and scaling together, for models with two
        kinds of layers under the kind's name; before, there were `rope_theta` and `rope_scaling`.

        Args:
          kind: of layer, such as "full_attention", in models that have several.
          base: where config.json does not say.

        Raises:
          UserError: positions are scaled in a way that we have not, or as `get`.
        """
        found = self.get("rope_parameters", default=None)
        if found is None:
            found = self.get("rope_scaling", default={})
        elif kind is not None:
            found = Fields(found).get(kind, default=found)
        rope = Fields(found)
        base = rope.get(
            "rope_theta", default=self.get("rope_theta", "rotary_emb_base", default=base)
        )
        return {"rotary_base": float(base), "rotary_scaling": _scaling(rope)}

    def windowed_layers(self, default: Sequence[bool]) -> tuple[bool, ...]:
        """Returns for every layer whether its attention has a window.

        Args:
          default: where `layer_types` does not say.
        """
        kinds = self.get("layer_types", default=None)
        return tuple(default if kinds is None else (kind == "sliding_attention" for kind in kinds))


def their_activation(ours: str) -> str:
    """Returns transformers' name of one of our activations."""
    return _THEIR_ACTIVATIONS[ours]


def rope_fields(base: float, scaling: RotaryScaling | None) -> dict[str, Any]:
    """Returns `rope_theta` and `rope_scaling`, the form that all versions read."""
    return {"rope_theta": base, "rope_scaling": _their_scaling(scaling)}


def _scaling(rope: Fields) -> RotaryScaling | None:
    kind = rope.get("rope_type", "type", default="default")
    if kind == "default":
        return None
    if kind == "linear":
        return RotaryScaling(kind="linear", factor=float(rope.require("factor")))
    if kind == "llama3":
        return RotaryScaling(
            kind="llama3",
            factor=float(rope.require("factor")),
            low_freq_factor=float(rope.require("low_freq_factor")),
            high_freq_factor=float(rope.require("high_freq_factor")),
            original_max_positions=rope.require("original_max_position_embeddings"),
        )
    raise UserError(
        f"config.json scales rotary positions by {kind!r}; expected 'default', 'linear' or 'llama3'"
    )


def _their_scaling(scaling: RotaryScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    hf_scaling: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        hf_scaling |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_positions,
        }
    return hf_scaling
