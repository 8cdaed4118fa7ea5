"""Renders pages from Jinja2 templates, in which all text is escaped unless it is already markup.

A page needs no network: style sheets and scripts are inline, fonts are the system's, and colours
follow the reader's light or dark setting through CSS variables (`--ink`, `--muted`, `--surface`,
`--raised`, `--line`, `--series-1` ... `--series-6`, `--good`, `--bad`, `--mark`).
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import jinja2
from markupsafe import Markup

from tlm_jax.errors import UserError, system_reason


def render(template: str, **values: object) -> Markup:
    """Returns the template of that name filled with values, as markup for another template."""
    return Markup(render_page(template, **values))


def render_page(template: str, **values: object) -> str:
    """Returns the template of a whole page filled with values.

    It is plain text, since methods of markup, such as `replace`, escape what they are given.
    """
    return _environment().get_template(template).render(values)


def printable(value: object) -> object:
    """Returns text without what HTML or UTF-8 cannot hold, so that any model output is shown.

    Control characters and lone surrogates become U+FFFD; markup stays as it is, None is nothing.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    return _UNPRINTABLE.sub("\ufffd", str(value))


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def asset(name: str) -> Markup:
    """Returns a style sheet or script of ours, never a user's text, as it is."""
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def write_page(path: Path, page: str, *, make_folder: bool = False) -> None:
    """Writes a page whole or not at all, its folder too where that may be made.

    Raises:
      UserError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {system_reason(error)}") from error


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset
    return environment
