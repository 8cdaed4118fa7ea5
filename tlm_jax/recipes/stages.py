"""Stages of a recipe: named pieces of work in one directory, each done whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from tlm_jax.checkpoints.lock import lock_directory
from tlm_jax.errors import UserError, system_reason
from tlm_jax.metrics.compilations import counted_compilations
from tlm_jax.metrics.progress import duration
from tlm_jax.recipes.done import (
    DONE,
    REPLACED,
    STARTED,
    Done,
    Figures,
    Kind,
    described,
    fingerprint,
    fingerprint_or_none,
    read_done,
    read_json,
    write_json,
)
from tlm_jax.runs.training import console, files
from tlm_jax.system.program_cache import ProgramCache

_FIGURES = "figures.json"
"""What the first host's work found, in the folder of a stage."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A piece of work.

    Attributes:
      name: the folder below the recipe's directory in which it works, such as "loop-01/train".
      kind: what its time is spent on.
      work: does it in the folder that it is given, or goes on with what lies there of an earlier
        start with the same settings and inputs; returns what it counted. With several hosts each
        calls it.
      writes: files and models in the folder that others read.
      settings: what decides the result beside what is read; as `described` takes it.
      reads: files and models by what they are to this stage; their content counts.
    """

    name: str
    kind: Kind
    work: Callable[[Path], Figures]
    writes: Sequence[str]
    settings: Mapping[str, Any]
    reads: Mapping[str, Path] = dataclasses.field(default_factory=dict)


class EndReached(Exception):
    """The stage is done after which the recipe was asked to end."""


class Stages:
    """Does a recipe's stages in their order, those that are not done yet.

    A stage is done when `stage.json` lies in its folder; that file is written last, and at once. It
    says what decided the result. Where that is what decides it now, and what was written is still
    there as it was, nothing is done. Else its folder is moved to `replaced/` and it is done again,
    and so is every later stage for which that makes a difference: fingerprints are of content.

    A context manager, which holds the directory for itself.
    """

    def __init__(self, output_dir: str, *, until: str | None = None, again: str | None = None):
        """Opens the directory.

        Args:
          output_dir: of the recipe.
          until: the name of the stage after which to end.
          again: the name of a stage, or of a folder of stages, to do again though it is done.

        Raises:
          UserError: the directory cannot be made, or another process works there.
        """
        self.directory = files.open_model_dir(output_dir)
        self.compiled = ProgramCache()
        self.done: dict[str, Done] = {}
        self.work_seconds = 0.0
        self._started = time.perf_counter()
        self._until, self._again = until, again
        # The other hosts go where the first one goes.
        self._lock = lock_directory(self.directory) if jax.process_index() == 0 else None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self._started

    def cost(self) -> dict[str, Any]:
        """Returns what was spent: seconds by kind, over all starts, and counts.

        `overhead_share` is of this start: the share of its wall time that is in no stage of
        generation, training or evaluation.
        """
        by_kind: dict[str, float] = {}
        for done in self.done.values():
            by_kind[done.kind] = by_kind.get(done.kind, 0.0) + done.seconds
        sampled = [done for done in self.done.values() if "tokens" in done.figures]
        return {
            "seconds": {kind: round(spent, 1) for kind, spent in by_kind.items()},
            "samples": sum(done.figures["samples"] for done in sampled),
            "tokens": sum(done.figures["tokens"] for done in sampled),
            "compilations": {done.name: done.compilations for done in self.done.values()},
            "steps": sum(done.figures.get("steps", 0) for done in self.done.values()),
            "this_start": {
                "seconds": round(self.seconds, 1),
                "overhead_share": round(1 - self.work_seconds / self.seconds, 4),
            },
        }

    def run(self, stage: Stage) -> Done:
        """Returns the stage once it is done, by an earlier start or now.

        Raises:
          EndReached: it is the one after which to end.
          UserError: it cannot be done.
          Stopped: a signal ended it.
        """
        folder = self.directory / stage.name
        decided_by = _decided_by(stage)
        done = self._found(stage, folder, decided_by)
        if done is None:
            done = self._do(stage, folder, decided_by)
        else:
            console.say(f"== {stage.name}: done before")
        self.done[stage.name] = done
        if stage.name == self._until:
            raise EndReached
        return done

    def _found(self, stage: Stage, folder: Path, decided_by: Mapping[str, Any]) -> Done | None:
        """Returns a stage that is done; clears the way for one that is not, and says why."""
        done, reason = None, ""
        if jax.process_index() == 0:
            done, reason = self._look(stage, folder, decided_by)
            if reason:
                moved = _set_aside(self.directory, stage.name)
                console.say(f"== {stage.name}: again, because {reason}; the earlier one: {moved}")
        # Only the first host looks, so that all do the same.
        if jax.process_count() > 1 and _agreed(done is not None):
            done = read_done(folder)
        return done

    def _look(
        self, stage: Stage, folder: Path, decided_by: Mapping[str, Any]
    ) -> tuple[Done | None, str]:
        done = read_done(folder)
        if done is None:
            started = read_json(folder / STARTED)
            return None, "" if started is None else _difference(started["decided_by"], decided_by)
        if self._again is not None and _is_within(stage.name, self._again):
            return None, "you asked for it"
        reason = _difference(done.decided_by, decided_by)
        for name, written in done.wrote.items():
            if not reason and fingerprint_or_none(folder / name) != written:
                reason = f"{folder / name} is not as it was written"
        return (None, reason) if reason else (done, "")

    def _do(self, stage: Stage, folder: Path, decided_by: Mapping[str, Any]) -> Done:
        started = read_json(folder / STARTED) or {"starts": 0}
        starts = int(started["starts"]) + 1
        if jax.process_index() == 0:
            files.make_folder(folder)
            write_json(folder / STARTED, {"decided_by": decided_by, "starts": starts})
        meet(f"{stage.name} started")
        console.say(f"== {stage.name}{'' if starts == 1 else ': goes on'}")
        begin = time.perf_counter()
        with counted_compilations() as compiled:
            figures = stage.work(folder)
        meet(f"{stage.name} done")
        seconds = time.perf_counter() - begin
        self.work_seconds += seconds if stage.kind != "other" else 0.0
        done = Done(
            stage.name,
            stage.kind,
            folder,
            figures,
            seconds,
            starts,
            len(compiled),
            decided_by,
            {name: fingerprint(folder / name) for name in stage.writes},
        )
        if jax.process_index() == 0:
            fields = {f.name: getattr(done, f.name) for f in dataclasses.fields(done)}
            del fields["folder"]
            write_json(folder / DONE, fields)
            (folder / STARTED).unlink(missing_ok=True)
        meet(f"{stage.name} noted")
        console.say(f"   {stage.name} took {duration(seconds)}")
        return done


def meet(name: str) -> None:
    """Waits for the other hosts, if there are any."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def on_first_host(folder: Path, work: Callable[[Path], Figures]) -> Figures:
    """Does work that one host does for all; each returns the same."""
    path = folder / _FIGURES
    if jax.process_index() == 0:
        write_json(path, work(folder))
    meet(f"figures {folder}")
    return read_json(path) or {}


def _decided_by(stage: Stage) -> dict[str, Any]:
    """Returns what decides a result, as it looks when it has been JSON."""
    found = {
        **{f"settings.{name}": value for name, value in stage.settings.items()},
        **{f"content of {name}": fingerprint(path) for name, path in stage.reads.items()},
    }
    return json.loads(json.dumps(described(found)))


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns in words the first single setting that differs; nothing where all is the same."""
    for name in dict.fromkeys((*now, *before)):
        one, other = before.get(name), now.get(name)
        if one == other and (name in before) == (name in now):
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            return f"{name}.{_difference(one, other)}"
        return f"{name or 'kind'} was {_shown(one)} and is {_shown(other)}"
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _set_aside(directory: Path, name: str) -> Path:
    """Moves a stage's folder away; returns where it lies now."""
    number = 1
    while (moved := directory / REPLACED / f"{name}.{number}").exists():
        number += 1
    try:
        moved.parent.mkdir(parents=True, exist_ok=True)
        (directory / name).rename(moved)
    except OSError as error:
        raise UserError(
            f"{directory / name} cannot be moved to {moved}: {system_reason(error)}"
        ) from error
    return moved


def _agreed(value: bool) -> bool:
    """Returns what the first host says."""
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))
