"""Shows tasks as a person would want to see them: `python -m tlm_jax.inspect TASK`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlm_jax.errors import UserError, system_reason
from tlm_jax.runs.command_line import configuration as command_line
from tlm_jax.runs.command_line.arguments import Parser

if TYPE_CHECKING:
    from rich.console import Console


def main(argv: Sequence[str]) -> int:
    """Lists tasks, or shows one in the terminal and as HTML; returns the exit status."""
    options = parser().parse(argv)
    if not options.list and options.task is None:
        raise UserError("nothing to show: name a task or mixture, or give --list.")

    from tlm_jax.data import tasks
    from tlm_jax.system import terminal

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # should a task need TensorFlow
    sys.path.insert(0, ".")  # so that --module finds a file in the current directory
    tasks.load_tasks(options.module)
    if options.list:
        from tlm_jax.data import listing
        from tlm_jax.reports import task_terminal as view_terminal

        view_terminal.list_tasks(listing.listing(), terminal.console(options.width))
        return 0
    _show(options, terminal.console(options.width, piped_width=120))
    return 0


def _show(options: argparse.Namespace, console: Console) -> None:
    from tlm_jax.data.run_data import RunData
    from tlm_jax.data.survey import SurveyConfig, survey
    from tlm_jax.reports import task_page as view_html
    from tlm_jax.reports import task_terminal as view_terminal
    from tlm_jax.vocabularies import vocabulary_from_name

    found = survey(
        SurveyConfig(
            name=options.task,
            split=options.split,
            num_examples=options.examples,
            sample=options.sample,
            feature_lengths=parse_lengths(options.feature_lengths),
            vocabulary=vocabulary_from_name(options.vocabulary) if options.vocabulary else None,
            architecture=options.architecture,
            seed=options.seed,
            data=RunData(options.data_dir or None),
        )
    )
    if options.html is None:
        view_terminal.draw(found, console, packing=options.pack)
        return
    try:
        Path(options.html).write_text(
            view_html.document(found, packing=options.pack), encoding="utf-8"
        )
    except OSError as error:
        raise UserError(f"cannot write {options.html}: {system_reason(error)}.") from error
    console.print(f"wrote {options.html}", soft_wrap=True)


def parse_lengths(text: str | None) -> dict[str, int] | None:
    """Reads `inputs:512,targets:64`.

    Raises:
      UserError: not of that form.
    """
    if text is None:
        return None
    lengths = {}
    for part in text.split(","):
        name, colon, number = part.partition(":")
        if not (colon and number.strip().isdigit()):
            raise UserError(
                f"--feature_lengths={text}: cannot read {part!r}; expected NAME:TOKENS pairs such "
                "as inputs:512,targets:64."
            )
        lengths[name.strip()] = int(number)
    return lengths


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "inspect",
        "Show a task or mixture: examples as text in every format and as tokens, loss weights, "
        "packing, lengths, truncation and fill.",
        examples=("inspect --list", "inspect word_problems_cot_in_context --html=task.html"),
    )
    add = result.add_argument
    add("task", nargs="?", metavar="TASK", help="the name of a task or mixture")
    add("--list", action="store_true", help="list all tasks and mixtures")
    add(
        "--module",
        action="append",
        default=[],
        metavar="M",
        help="Python module that registers further tasks; may be given several times",
    )
    add("--data_dir", metavar="DIR", help="directory of data files (else TLM_JAX_DATA_DIR)")
    add("--split", default="train", help="split to show (train)")
    add("--examples", type=int, default=2, metavar="N", help="examples shown whole (2)")
    add("--sample", type=int, default=1000, metavar="N", help="examples measured (1000)")
    add(
        "--feature_lengths",
        metavar="inputs:512,targets:64",
        help="tokens kept of each feature (the longest of the sample)",
    )
    add(
        "--vocabulary",
        metavar="V",
        help="byte, FILE.model (FILE.model+100 for extra ids), tokenizer.json, or asset:NAME",
    )
    add(
        "--architecture",
        choices=("encoder_decoder", "decoder_only"),
        help="the model that reads the batches (encoder_decoder where the task has inputs)",
    )
    add(
        "--pack",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="draw how examples share rows",
    )
    add("--seed", type=int, default=0, help="which examples are drawn (0)")
    add("--html", metavar="FILE", help="write one self-contained page instead")
    add("--width", type=int, metavar="COLUMNS", help="width of the output (the terminal's)")
    return result


if __name__ == "__main__":
    command_line.run_main(main)
