"""The registry of tasks and mixtures: what is registered, by name, and nothing about how.

`tlm_jax.data.tasks` fills it and `tlm_jax.data.seqio_bridge` shows it to SeqIO; it knows neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlm_jax.data.sources import RecordSource
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import ByteVocabulary, Vocabulary


@dataclasses.dataclass(frozen=True)
class Task:
    """A source of formatted examples and how they become tokens.

    Attributes:
      name: unique among tasks and mixtures.
      source: the formatted examples.
      features: the fields that are tokenized: ("inputs", "targets") or ("targets",).
      vocabulary: used where the run does not choose another.
      eos_features: the features that end with the vocabulary's EOS.
      description: one line for `tlm_jax.inspect --list`.
      seqio_options: further keywords of `seqio.TaskRegistry.add`, such as `metric_fns`.
    """

    name: str
    source: RecordSource
    features: tuple[str, ...] = ("inputs", "targets")
    vocabulary: Vocabulary = dataclasses.field(default_factory=ByteVocabulary)
    eos_features: tuple[str, ...] = ("inputs", "targets")
    description: str = ""
    seqio_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Tasks (or mixtures) drawn in proportion to `rates`, which need not sum to one."""

    name: str
    rates: tuple[tuple[str, float], ...]
    description: str = ""


WITH_TEACHER = "_with_teacher"
"""Ends the name of a task or mixture whose examples are joined with a teacher's rows."""

_registry: dict[str, Task | Mixture] = {}


def add(entry: Task | Mixture) -> None:
    """Registers a task or mixture.

    Raises:
      UserError: the name is taken.
    """
    if entry.name in _registry:
        raise UserError(f"a task or mixture named {entry.name!r} is registered already.")
    _registry[entry.name] = entry


def remove(name: str) -> None:
    """Forgets a task or mixture, if it is there."""
    _registry.pop(name, None)


def registered() -> dict[str, Task | Mixture]:
    """Returns everything registered so far, in the order of registration."""
    return dict(_registry)


def find(name: str) -> Task | Mixture | None:
    """Returns the registered task or mixture, or None.

    `NAME_with_teacher` is the task or mixture NAME again, under that name; its members too are
    named so.
    """
    if name in _registry or not name.endswith(WITH_TEACHER):
        return _registry.get(name)
    found = _registry.get(name.removesuffix(WITH_TEACHER))
    if isinstance(found, Mixture):
        rates = tuple((member + WITH_TEACHER, rate) for member, rate in found.rates)
        return dataclasses.replace(found, name=name, rates=rates)
    return found and dataclasses.replace(found, name=name)


def is_registered(name: str) -> bool:
    """Returns whether `find` finds a name."""
    return find(name) is not None
