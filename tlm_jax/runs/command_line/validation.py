"""Checks the types inside a configuration, because gin binds any value to any parameter."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import remedies


def check_types(config: Any, where: str) -> None:
    """Checks every field of a (nested) dataclass against its annotation.

    Raises:
      UserError: names the field, the value given with its type, and the type expected.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        path = f"{where}.{field.name}"
        hint = hints[field.name]
        if not _matches(value, hint):
            remedy = remedies.for_value(
                value, lambda other, hint=hint: _matches(other, hint), _classes(hint)
            )
            shown = (
                f"the class {value.__name__} itself"
                if isinstance(value, type)
                else f"{value!r} ({type(value).__name__})"
            )
            raise UserError(f"{path} is {shown}, expected {_name(hint)}{remedy}")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            check_types(value, path)


def _matches(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            _matches(k, arguments[0]) and _matches(v, arguments[1]) for k, v in value.items()
        )
    if origin in (list, Sequence):
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(_matches(item, arguments[0]) for item in value)
        )
    if origin is tuple:
        # Gin writes tuples and lists alike; a variadic tuple takes any length.
        return isinstance(value, list | tuple) and all(
            _matches(item, arguments[0] if arguments[-1] is ... else hint)
            for item, hint in zip(value, [*arguments] * max(len(value), 1), strict=False)
        )
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(origin or hint, type) or isinstance(value, origin or hint)


def _classes(hint: Any) -> Iterator[type]:
    """Yields the dataclasses of which a field takes one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for option in typing.get_args(hint):
            yield from _classes(option)
    elif isinstance(hint, type):
        yield from (
            kind for kind in (*hint.__subclasses__(), hint) if dataclasses.is_dataclass(kind)
        )


def _name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_name(option) for option in typing.get_args(hint))
    if typing.get_args(hint):
        inner = ", ".join(_name(argument) for argument in typing.get_args(hint))
        return f"{hint.__name__}[{inner}]"
    if inspect.isabstract(hint):
        return " or ".join([*(kind.__name__ for kind in hint.__subclasses__()), hint.__name__])
    return getattr(hint, "__name__", str(hint)).replace("NoneType", "None")
