"""Values in the objects of a JSON Lines file, by dotted names that go through lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tlm_jax.errors import UserError, nearest

Place = tuple[tuple[str, int], ...]
"""Which element of each list a value is in: (name of the list, index), outermost first."""


def values(row: Mapping[str, Any], name: str, where: str) -> Iterator[tuple[Place, Any]]:
    """Yields the values that a dotted name has in an object, each with its place.

    `meta.solutions.model` goes through a list `solutions`: one value for each element. A list at
    the end is gone through, too.

        {"meta": {"solutions": [{"model": "a"}, {"model": "b"}]}}
        -> ((("meta.solutions", 0),), "a"), ((("meta.solutions", 1),), "b")

    Args:
      row: the object.
      name: names joined by dots. A name that holds dots itself is found, too.
      where: what to call the object in an error, such as 'samples.jsonl:17'.

    Raises:
      UserError: if a name is missing, with the nearest one that is there.
    """
    yield from _walk(row, name, "", (), where)


def value_at(row: Mapping[str, Any], name: str, place: Place, where: str) -> Any:
    """Returns the value of a dotted name for the element of the lists that `place` tells.

    Raises:
      UserError: if the name goes through a list that `place` does not know.
    """
    known = dict(place)
    for here, value in values(row, name, where):
        if all(known.get(items) == index for items, index in here if items in known):
            unknown = [items for items, _ in here if items not in known]
            if unknown:
                raise UserError(
                    f"{where}: {name} is one value for each element of {unknown[0]}, but the "
                    "prediction does not go through that list; give one value a prediction."
                )
            return value
    raise UserError(f"{where}: {name} has no value for the prediction at {_written(place)}.")


def list_at(row: Mapping[str, Any], name: str, place: Place, where: str) -> list[Any]:
    """Returns the list that a dotted name has at `place`, such as a question's options."""
    known = dict(place)
    return [
        value
        for here, value in values(row, name, where)
        if all(known.get(items) == index for items, index in here if items in known)
    ]


def _walk(value: Any, rest: str, done: str, place: Place, where: str) -> Iterator:
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield from _walk(element, rest, done, (*place, (done, index)), where)
    elif not rest:
        yield place, value
    elif isinstance(value, Mapping):
        # The whole rest first: names may hold dots themselves.
        head, tail = (rest, "") if rest in value else _split(rest)
        if head not in value:
            inside = f" in {done}" if done else ""
            hint = nearest(head, value)
            raise UserError(
                f"{where}: no field {head!r}{inside}.{hint} Fields: {', '.join(value) or 'none'}."
            )
        yield from _walk(value[head], tail, f"{done}.{head}" if done else head, place, where)
    else:
        kind = type(value).__name__
        raise UserError(f"{where}: {done} is {kind}, so it has no field {_split(rest)[0]!r}.")


def _split(name: str) -> tuple[str, str]:
    head, _, tail = name.partition(".")
    return head, tail


def _written(place: Place) -> str:
    return ", ".join(f"{name}[{index}]" for name, index in place) or "the top level"
