"""Registers tasks and mixtures, loads the modules that do, and finds what they registered.

Importing SeqIO imports TensorFlow (about three seconds). So a task is noted in the registry, and
`tlm_jax.data.seqio_bridge` enters it into SeqIO's: at once where SeqIO is already imported, else
when something asks for it.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import math
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from tlm_jax.data import registry
from tlm_jax.data.registry import WITH_TEACHER, Mixture, Task, is_registered, registered
from tlm_jax.data.sources import RecordSource
from tlm_jax.errors import UserError, nearest
from tlm_jax.system.shipped import shipped_folder
from tlm_jax.vocabularies import ByteVocabulary, Vocabulary

__all__ = [
    "WITH_TEACHER",
    "Mixture",
    "Task",
    "get",
    "get_task",
    "is_registered",
    "load_tasks",
    "register_mixture",
    "register_task",
    "registered",
    "task_rates",
    "unregister",
]


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """What the import of a module named by a run brought: other modules, and entries by name."""

    modules: frozenset[str]
    entries: dict[str, Task | Mixture]


_loaded: dict[str, _Loaded] = {}


def register_task(
    name: str,
    source: RecordSource,
    *,
    features: Sequence[str] = ("inputs", "targets"),
    vocabulary: Vocabulary | None = None,
    eos_features: Sequence[str] | None = None,
    description: str = "",
    seqio_options: Mapping[str, Any] | None = None,
) -> Task:
    """Registers a task here and, when SeqIO is or gets imported, in `seqio.TaskRegistry`.

    Args:
      name: unique among tasks and mixtures.
      source: the formatted examples; nothing is read now.
      features: the fields that are tokenized.
      vocabulary: the default one; bytes if None.
      eos_features: the features that end with EOS; all of `features` if None.
      description: one line for `tlm_jax.inspect --list`.
      seqio_options: further keywords of `seqio.TaskRegistry.add`.

    Raises:
      UserError: the name is taken.
    """
    task = Task(
        name=name,
        source=source,
        features=tuple(features),
        vocabulary=vocabulary or ByteVocabulary(),
        eos_features=tuple(features if eos_features is None else eos_features),
        description=description,
        seqio_options=dict(seqio_options or {}),
    )
    _add(task)
    return task


def register_mixture(
    name: str,
    rates: Mapping[str, float | int] | Iterable[tuple[str, float | int]],
    *,
    description: str = "",
) -> Mixture:
    """Registers a mixture of tasks or mixtures, by name and rate.

    Raises:
      UserError: the name is taken, there is no member, or a rate is not a positive number.
    """
    pairs = tuple((member, float(rate)) for member, rate in dict(rates).items())
    if not pairs:
        raise UserError(f"mixture {name!r} has no members; give at least one (task, rate).")
    for member, rate in pairs:
        if not (math.isfinite(rate) and rate > 0):
            raise UserError(
                f"mixture {name!r} gives {member!r} the rate {rate}; expected a positive number."
            )
    mixture = Mixture(name, pairs, description)
    _add(mixture)
    return mixture


def get(name: str) -> Task | Mixture:
    """Returns the registered task or mixture, loading the `tasks` package if need be.

    `NAME_with_teacher` is the task or mixture NAME again, under that name; its members too are
    named so. A name that only SeqIO knows is not found here; see `seqio_bridge.find`.

    Raises:
      UserError: no such name; the message gives the nearest one.
    """
    if not is_registered(name):
        load_tasks()
    found = registry.find(name)
    if found is None:
        raise UserError(
            f"no task or mixture named {name!r}.{nearest(name, registered())} "
            "`python -m tlm_jax.inspect --list` shows all of them."
        )
    return found


def get_task(name: str) -> Task:
    """Returns the registered task; as `get`, and UserError where the name is a mixture's."""
    found = get(name)
    if isinstance(found, Mixture):
        members = ", ".join(member for member, _ in found.rates)
        raise UserError(f"{name!r} is a mixture (of {members}); expected a task.")
    return found


def unregister(name: str) -> None:
    """Forgets a task or mixture (tests, and notebooks that define one again)."""
    for loaded in _loaded.values():
        loaded.entries.pop(name, None)
    _withdraw(name)


def _withdraw(name: str) -> None:
    registry.remove(name)
    if "seqio" in sys.modules:
        from tlm_jax.data import seqio_bridge

        seqio_bridge.withdraw(name)


def load_tasks(modules: Sequence[str] | None = None) -> dict[str, Task | Mixture]:
    """Imports every module of the `tasks` that ship and those named; returns the registry.

    What a module registered that an earlier run in this process named, and this one does not, is
    put aside until a run names that module again: a name means what the run's own modules say, or
    nothing. A module is imported once, as ever in Python, also where its file changes.

    Args:
      modules: those of a run; None leaves aside nothing.

    Raises:
      UserError: a named module cannot be found, or registers a name that is taken.
    """
    package = _shipped_tasks()
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(found.name)
    for module, loaded in list(_loaded.items()):
        if module not in sys.modules:
            del _loaded[module]
        elif modules is not None and loaded.modules.isdisjoint(modules):
            for name in loaded.entries:
                _withdraw(name)
    for module in modules or ():
        _load_module(module)
    return registered()


def _load_module(module: str) -> None:
    """Imports a module, or brings back what was put aside of it."""
    for loaded in _loaded.values():
        if module in loaded.modules:
            for name, entry in loaded.entries.items():
                if registry.find(name) is not entry:
                    _add(entry)
    entries, imported = set(registered()), set(sys.modules)
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise UserError(
            f"cannot import module {module!r} (no module {error.name!r}): name a module on "
            "PYTHONPATH or in the current directory."
        ) from error
    found = {name: entry for name, entry in registered().items() if name not in entries}
    if found:
        _loaded[module] = _Loaded(frozenset({module, *sys.modules} - imported), found)


def task_rates(name: str) -> dict[str, float]:
    """Returns each task below a task or mixture with its share; the shares sum to one.

    A sub-mixture's rate is divided among its members in proportion to their rates there, and a
    task reached by several paths gets the sum of its shares.

    Raises:
      UserError: a member is unknown, or a mixture contains itself.
    """
    shares: dict[str, float] = {}
    _add_shares(name, 1.0, (), shares)
    return shares


def _shipped_tasks() -> ModuleType:
    """Returns the package of our tasks, from where it lies and under a name of its own.

    A package or module `tasks` of somebody else's, first on the path or not, is left alone.
    """
    if _SHIPPED not in sys.modules:
        folder = shipped_folder("tasks")
        spec = importlib.util.spec_from_file_location(
            _SHIPPED, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[_SHIPPED] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_SHIPPED])
    return sys.modules[_SHIPPED]


def _add_shares(name: str, share: float, path: tuple[str, ...], shares: dict[str, float]) -> None:
    if name in path:
        raise UserError(f"mixture {name!r} contains itself: {' > '.join((*path, name))}.")
    found = get(name)
    if isinstance(found, Task):
        shares[name] = shares.get(name, 0.0) + share
        return
    total = sum(rate for _, rate in found.rates)
    for member, rate in found.rates:
        _add_shares(member, share * rate / total, (*path, name), shares)


def _add(entry: Task | Mixture) -> None:
    registry.add(entry)
    if "seqio" in sys.modules:
        from tlm_jax.data import seqio_bridge

        seqio_bridge.publish()


_SHIPPED = "tlm_jax_tasks"
