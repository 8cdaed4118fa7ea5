"""A recipe: a published method as a sequence of stages, from one configuration."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from tlm_jax.errors import UserError, nearest
from tlm_jax.recipes.done import Kind
from tlm_jax.recipes.stages import EndReached, Stages
from tlm_jax.runs.training import files


@dataclasses.dataclass(frozen=True)
class Planned:
    """A stage that a recipe may come to.

    Attributes:
      name, kind: of the stage.
      samples: to be drawn, at most; of a training stage the steps.
      prompt_tokens: in all.
      new_tokens: to be generated, at most; of a training stage those of its batches.
      flops: floating-point operations, at most.
      note: what the numbers depend on, in words.
    """

    name: str
    kind: Kind
    samples: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    flops: float = 0.0
    note: str = ""


class Method(abc.ABC):
    """What a method brings: its stages. Its configuration's dataclass is one."""

    @abc.abstractmethod
    def plan(self) -> list[Planned]:
        """Returns all stages that a run may come to, in their order; nothing is run.

        Raises:
          UserError: the configuration cannot work, as far as can be told without running.
        """

    @abc.abstractmethod
    def run(self, stages: Stages, configuration: str) -> dict[str, Any]:
        """Does all stages; returns what `results.json` holds.

        Args:
          stages: of the recipe.
          configuration: as gin text, for the MODEL_DIRs.
        """


@dataclasses.dataclass(frozen=True)
class RecipeConfig:
    """A recipe with its directory.

    Attributes:
      output_dir: everything lies here; the same command there goes on.
      method: what is done.
    """

    output_dir: str
    method: Method


def run_recipe(
    config: RecipeConfig,
    configuration: str,
    *,
    until: str | None = None,
    again: str | None = None,
) -> dict[str, Any] | None:
    """Does what is not done yet.

    Args:
      config: the recipe.
      configuration: the same as gin text, for OUTPUT_DIR and the MODEL_DIRs.
      until: the name of the stage after which to end.
      again: the name of a stage or folder of stages to do again.

    Returns:
      What results.json holds; None where `until` ended it before.

    Raises:
      UserError: as the stages, or there is no stage of such a name.
      Stopped: a signal ended it.
    """
    names = [planned.name for planned in config.method.plan()]
    _check_name("--until", until, names)
    folders = {
        "/".join(name.split("/")[:n]) for name in names for n in range(1, name.count("/") + 1)
    }
    _check_name("--again", again, [*names, *sorted(folders)])
    with Stages(config.output_dir, until=until, again=again) as stages:
        files.write_configuration(stages.directory, configuration)
        try:
            return config.method.run(stages, configuration)
        except EndReached:
            return None


def _check_name(flag: str, given: str | None, names: Sequence[str]) -> None:
    if given is not None and given not in names:
        raise UserError(
            f"{flag}={given}: there is no such stage.{nearest(given, names)} `--dry_run` lists them"
        )
