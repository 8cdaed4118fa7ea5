"""Writes model configurations as JSON, and reads them back with every name and type checked."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.errors import UserError, nearest
from tlm_jax.models.config import DecoderOnlyConfig, EncoderDecoderConfig, ModelConfig
from tlm_jax.models.specs import RotaryScaling

_FAMILIES: dict[str, type[ModelConfig]] = {
    family.architecture: family for family in (EncoderDecoderConfig, DecoderOnlyConfig)
}


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """Returns all fields of a configuration as what `json` can write, and `family`."""
    return {"family": config.architecture, **dataclasses.asdict(config)}


def config_from_json(content: Mapping[str, Any]) -> ModelConfig:
    """Returns the configuration that `config_to_json` wrote.

    Fields that are absent have their defaults.

    Args:
      content: as `json` reads it.

    Raises:
      UserError: names the field that is unknown, missing, of the wrong type or impossible.
    """
    family = content.get("family")
    if family not in _FAMILIES:
        known = " or ".join(repr(name) for name in _FAMILIES)
        hint = nearest(str(family), _FAMILIES)
        raise UserError(f"Model configuration: family is {family!r}: expected {known}.{hint}")
    return _build(_FAMILIES[family], {k: v for k, v in content.items() if k != "family"})


def _build(cls: type[Any], content: Mapping[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in content:
        if name not in fields:
            raise UserError(f"{cls.__name__} has no field {name!r}.{nearest(name, fields)}")
    for name, field in fields.items():
        if name not in content and field.default is dataclasses.MISSING:
            raise UserError(f"{cls.__name__}.{name} is missing")
    hints = typing.get_type_hints(cls)
    return cls(
        **{name: _value(f"{cls.__name__}.{name}", v, hints[name]) for name, v in content.items()}
    )


def _value(where: str, value: Any, hint: Any) -> Any:
    """Returns a field's value as the configuration holds it."""
    options = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    for option in options:
        if option is RotaryScaling and isinstance(value, Mapping):
            return _build(RotaryScaling, value)
        if typing.get_origin(option) is Sequence:
            (item,) = typing.get_args(option)
            if isinstance(value, list | tuple) and all(_is(v, item) for v in value):
                return tuple(value)
        elif _is(value, option):
            # JSON writes whole numbers without a point.
            return float(value) if isinstance(value, int) and option is float else value
    expected = hint.__name__ if isinstance(hint, type) else re.sub(r"\b\w+\.", "", str(hint))
    raise UserError(f"{where} is {value!r} ({type(value).__name__}), expected {expected}")


def _is(value: Any, scalar: Any) -> bool:
    if isinstance(value, bool):
        return scalar is bool
    return isinstance(value, (int, float) if scalar is float else scalar)
