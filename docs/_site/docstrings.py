"""Docstrings of the API reference: Google's sections and Markdown's backticks as reStructuredText.

The docstrings of the package are plain text: code stands in single backticks, examples are
indented by four spaces, and a star or an underscore means itself. Read as reStructuredText, half of
them would warn. Here they are turned into it, so that nothing in them can be misread.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

_SECTIONS = {"Args": "param", "Attributes": "ivar", "Raises": "raises", "Returns": "", "Yields": ""}
_HEADING = re.compile(rf"({'|'.join(_SECTIONS)}):")
_ENTRY = re.compile(r"(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*): *(.*)")
_ITEM = re.compile(r"(?:[-*]|\d+\.) +(.*)")
_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"``(.+?)``|`([^`]+)`|\[([^\]]+)\]\((https?://[^)\s]+)\)")


def converted(lines: Sequence[str]) -> list[str]:
    """Returns a docstring as reStructuredText that draws no warning.

    Args:
      lines: of the docstring, with its indentation removed.
    """
    text: list[str] = []
    fields: list[str] = []
    section, body = None, []
    for line in [*lines, "Returns:"]:  # one more heading ends the last section
        if heading := _HEADING.fullmatch(line.rstrip()):
            if section is None:
                text += _paragraphs(body)
            else:
                fields += _fields(section, body)
            section, body = heading[1], []
        elif section is not None and line.strip() and not line.startswith(" "):
            fields += _fields(section, body)
            section, body = None, [line]
        else:
            body.append(line)
    return [*text, *fields, ""]


def _fields(section: str, body: Sequence[str]) -> Iterator[str]:
    lines = textwrap.dedent("\n".join(body)).strip("\n").splitlines()
    if section in ("Returns", "Yields"):
        yield f":{section.lower()}: {_inline(' '.join(line.strip() for line in lines))}"
        return
    entries: list[tuple[str, list[str]]] = []
    for line in lines:
        if entry := _ENTRY.fullmatch(line):
            entries.append((entry[1], [entry[2]]))
        elif entries:
            entries[-1][1].append(line.strip())
        else:
            entries.append(("", [line.strip()]))
    for name, words in entries:
        field = f"{_SECTIONS[section]} {_escaped(name)}" if name else section
        yield f":{field}: {_inline(' '.join(filter(None, words)))}"


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    """Yields blocks apart from each other: paragraphs, items of lists, and what is indented."""
    text = _FENCED.sub(lambda found: f"\n{textwrap.indent(found[1], '    ')}\n", "\n".join(lines))
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if block.startswith("  "):
            yield from _literal(block)
        elif block.strip():
            # A list, or an example, may follow its introduction without an empty line.
            for part in _parts(block.splitlines()):
                yield from part


def _parts(lines: Sequence[str]) -> Iterator[list[str]]:
    words: list[str] = []
    literal: list[str] = []
    item = False
    for line in lines:
        found = _ITEM.fullmatch(line)
        if line.startswith("    ") and not item:
            literal.append(line)
            continue
        if found or literal:
            yield from _finished(words, literal, item)
            words, literal, item = [], [], bool(found)
        words.append(found[1] if found else line.strip())
    yield from _finished(words, literal, item)


def _finished(words: Sequence[str], literal: Sequence[str], item: bool) -> Iterator[list[str]]:
    if words:
        yield [("* " if item else "") + _inline(" ".join(words)), ""]
    if literal:
        yield _literal("\n".join(literal))


def _literal(text: str) -> list[str]:
    return ["::", "", *textwrap.indent(textwrap.dedent(text), "    ").splitlines(), ""]


def _inline(text: str) -> str:
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        parts.append(_escaped(text[end : span.start()]))
        end = span.end()
        if span[3]:
            shown = f"`{_escaped(span[3])} <{span[4]}>`__"
        else:
            shown = f"``{(span[1] or span[2]).strip()}``"
        # An empty escape parts the markup from a letter that follows it or goes before.
        parts.append(f"\\ {shown}\\ ")
    parts.append(_escaped(text[end:]))
    return "".join(parts).strip()


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*_|`])", r"\\\1", text)
    return re.sub(r"^([-+=.:>#~\"'(\d])", r"\\\1", text)
