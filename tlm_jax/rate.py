"""Ratings by people: `python -m tlm_jax.rate FILE.jsonl` serves a page on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlm_jax.errors import UserError, system_reason
from tlm_jax.runs.command_line.arguments import Parser
from tlm_jax.system.terminal import printable

if TYPE_CHECKING:
    from tlm_jax.rating.items import Sheet

_PORT = 8360


def main(argv: Sequence[str]) -> int:
    """Parses the command line; serves the page, asks a judge, or writes the report."""
    arguments = parser().parse(argv)
    if arguments.output is not None and not arguments.report:
        raise UserError("--output says where the report goes: give --report, too")

    # After parsing, so that --help is quick.
    from tlm_jax.rating.items import Fields, read_sheet
    from tlm_jax.rating.scales import SCALES

    fields = Fields(arguments.source, arguments.question, arguments.text)
    sheet = read_sheet(Path(arguments.file), fields, SCALES.get(arguments.scale))
    if sheet.already_rated:
        print(
            f"note: {sheet.already_rated:,} rows of {sheet.path} have a `rating` already, which is "
            "neither shown nor counted"
        )
    status = 0
    if arguments.judge is not None:
        status = _judge(sheet, arguments)
    if arguments.report:
        _report(sheet, arguments.output)
    if arguments.judge is None and not arguments.report:
        _serve(sheet, arguments.host, arguments.port)
    return status


def _people(sheet: Sheet) -> Path:
    return sheet.beside("ratings.jsonl")


def _models(sheet: Sheet) -> Path:
    return sheet.beside("judged.jsonl")


def _serve(sheet: Sheet, host: str, port: int) -> None:
    from tlm_jax.rating import app
    from tlm_jax.rating.guard import Guard
    from tlm_jax.rating.store import RatingStore

    with (
        app.listen(host, port) as listening,
        RatingStore(_people(sheet), sheet.scale, "person") as store,
    ):
        guard = Guard.of(host, listening.getsockname()[1])
        print(f"{len(sheet.items):,} items of {len(sheet.sources)} sources, by {sheet.scale.name}")
        print(f"ratings   {_people(sheet)}")
        print(f"page      {app.address(guard)}")
        if guard.token is not None:
            print("note: whoever has this address can rate, and nothing is encrypted on the way")
        print("Ctrl-C ends it; what was rated is saved.", flush=True)
        app.serve(sheet, store, guard, listening)


def _judge(sheet: Sheet, arguments: argparse.Namespace) -> int:
    from tlm_jax.rating.judge import judge, server_and_name
    from tlm_jax.rating.store import RatingStore, rater_name
    from tlm_jax.remote.api_key import ApiKey
    from tlm_jax.remote.client import Client
    from tlm_jax.remote.server import Server

    url, name = server_and_name(arguments.judge)
    server = Server(url, name, concurrency=arguments.concurrency)
    key = ApiKey.from_environment(arguments.api_key_variable)
    with (
        RatingStore(_models(sheet), sheet.scale, "model") as store,
        Client(server, key) as client,
    ):
        found = judge(sheet, store, client, rater_name(name))
    print(f"judged    {found.rated:,} items now, {found.before:,} before: {_models(sheet)}")
    left = dict.fromkeys(found.unreadable, "the answer does not end with a value for each field")
    left.update(found.failed)
    for item, reason in list(left.items())[:10]:
        print(printable(f"left out  {item}: {reason}"))
    if left:
        print(f"left out  {len(left):,} items in all; the same command asks for them again")
    return 1 if left else 0


def _report(sheet: Sheet, output: str | None) -> None:
    from tlm_jax.rating.store import read_ratings
    from tlm_jax.rating.summary import summarize
    from tlm_jax.reports import rating_page
    from tlm_jax.reports.templating import write_page

    ratings = [*read_ratings(_people(sheet)), *read_ratings(_models(sheet))]
    figures = summarize(sheet, ratings)
    page = Path(output) if output is not None else sheet.beside("report.html")
    write_page(page, rating_page.render(figures), make_folder=True)
    table = page.with_suffix(".json")
    try:
        table.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{table} cannot be written: {system_reason(error)}") from error
    print("\n".join(rating_page.lines(figures)))
    print(f"page      {page}")
    print(f"figures   {table}")


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "rate",
        "Rate explanations, or LEMA's corrections, on a page of this machine: sources are hidden "
        "and shuffled, each rating is saved at once beside FILE, and whoever comes back goes on. "
        "--report writes means by source and the raters' agreement; --judge has a model rate, too.",
        examples=(
            "rate explanations.jsonl",
            "rate corrections/rate.jsonl --report",
            "rate explanations.jsonl --judge=openai:http://localhost:8000/v1,Qwen3-8B --report",
        ),
    )
    result.add_argument("file", metavar="FILE", help="JSON Lines, compressed or not")
    result.add_argument(
        "--scale",
        choices=("grades", "verdict"),
        help="grades: 1 to 5 for fluency, factuality, informativeness; verdict: excellent, good, "
        "poor (default: verdict where all rows are corrections)",
    )
    for name, what in (
        ("source", "who wrote the text, which no rater sees"),
        ("question", "what was asked"),
    ):
        result.add_argument(f"--{name}", default=name, metavar="FIELD", help=f"{what} ({name})")
    result.add_argument(
        "--text",
        metavar="FIELD",
        help="what is rated; several with commas between (default: text, explanation or rationale)",
    )
    result.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (default: 127.0.0.1, this machine alone); for any other the address "
        "that is printed has a token, without which nothing is answered",
    )
    result.add_argument(
        "--port", type=int, default=_PORT, metavar="N", help=f"0 takes a free one ({_PORT})"
    )
    result.add_argument(
        "--report", action="store_true", help="write FILE's report.html and its figures, and stop"
    )
    result.add_argument("--output", metavar="PAGE", help="where the report goes instead")
    result.add_argument(
        "--judge",
        metavar="openai:URL,NAME",
        help="have a model behind a server rate; apart from people's ratings",
    )
    result.add_argument(
        "--api_key_variable",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="the environment variable that holds the server's key (OPENAI_API_KEY)",
    )
    result.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="most requests at a time (16)"
    )
    return result


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
