"""Runs a published method as a whole: `python -m tlm_jax.recipe --gin_file=FILE [NAME=VALUE]`."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.runs.command_line import arguments
from tlm_jax.runs.command_line import configuration as command_line


def parser() -> arguments.Parser:
    """Returns the parser of the command line."""
    result = arguments.configured_parser(
        "recipe",
        "Run a published method from its questions to its results, stage by stage. The same "
        "command goes on where it was stopped; what did not change is not done again. "
        "`tlm recipe status DIR` says how far one is.",
        examples=(
            "recipe --gin_file=gin_configs/recipes/star_addition_tiny.gin OUTPUT_DIR=runs/star",
            "recipe --gin_file=gin_configs/recipes/star_gsm8k_smollm2.gin DATA_DIR=data "
            "INITIAL_CHECKPOINT_PATH=smollm2 --until=seed-0/loop-01/generate",
            "recipe status runs/star",
        ),
    )
    result.add_argument("--until", metavar="STAGE", help="end after this stage")
    result.add_argument(
        "--again", metavar="STAGE", help="do this stage, or a folder of stages, though it is done"
    )
    return result


def main(argv: Sequence[str]) -> int:
    """Runs a recipe, shows its plan or its state; returns the exit status."""
    if argv[:1] == ["status"]:
        return _status(argv[1:])
    known, bindings = arguments.parse_settings(parser(), argv)

    from tlm_jax.recipes.recipe import RecipeConfig, run_recipe

    config, configuration = command_line.load(RecipeConfig, known, bindings)

    from tlm_jax.runs.command_line import environment

    environment.prepare()
    if known.dry_run:
        from tlm_jax.recipes.estimates import show_plan

        print(configuration)
        show_plan(config.method.plan())
        return 0
    run_recipe(config, configuration, until=known.until, again=known.again)
    return 0


def _status(argv: Sequence[str]) -> int:
    result = arguments.Parser("recipe status", "Say which stages of a recipe are done.")
    result.add_argument("directory", metavar="DIR", help="OUTPUT_DIR of the recipe")
    directory = result.parse(argv).directory

    from tlm_jax.recipes.estimates import show_status

    show_status(directory)
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
