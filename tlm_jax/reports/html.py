"""Builds self-contained HTML pages in which text is escaped unless it is already markup.

    body = element("p", "3 < 4, says ", element("b", model_output))
    Path("page.html").write_text(page("Title", section("Numbers", body)))

A page needs no network: the style sheet is inline, fonts are the system's, and colours follow the
reader's light or dark setting through CSS variables (`--ink`, `--muted`, `--surface`, `--raised`,
`--line`, `--series-1` ... `--series-6`, `--good`, `--bad`, `--mark`).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

VOID_ELEMENTS = frozenset({"br", "hr", "img", "input", "meta", "path", "line", "circle", "rect"})


class Html(str):
    """Markup: `element` inserts it as it is, and escapes every other string."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Returns `text` as markup that shows exactly these characters, also inside attributes.

    Control characters that HTML cannot hold become U+FFFD, so that any model output is shown.
    """
    if isinstance(text, Html):
        return text
    printable = "".join(
        c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f") else "\ufffd"
        for c in str(text)
    )
    # A lone surrogate cannot be written as UTF-8.
    printable = printable.encode("utf-8", "replace").decode("utf-8")
    return Html(html.escape(printable, quote=True))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Concatenates `parts`, each escaped unless it is markup."""
    return Html(str(escape(separator)).join(escape(part) for part in parts))


def element(name: str, *children: object, **attributes: object) -> Html:
    """Returns `<name attributes>children</name>`.

    Args:
      name: the element's name.
      *children: strings are escaped, `Html` is inserted as it is, None is left out.
      **attributes: `class_` and `for_` lose their underscore, other underscores become hyphens
        (`data_id` is `data-id`); None leaves the attribute out, True gives it no value.
    """
    written = "".join(
        f" {_attribute_name(key)}" + ("" if value is True else f'="{escape(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    content = join(child for child in children if child is not None)
    if name in VOID_ELEMENTS and not content:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{content}</{name}>")


def section(heading: str, *children: object, note: str | None = None) -> Html:
    """Returns a titled block of the page, with an optional explanatory line under the heading."""
    return element(
        "section",
        element("h2", heading),
        element("p", note, class_="note") if note else None,
        *children,
    )


def table(
    headers: Sequence[object], rows: Iterable[Sequence[object]], *, numeric: Iterable[int] = ()
) -> Html:
    """Returns a table that scrolls sideways when it is too wide; `numeric` columns align right."""
    right = frozenset(numeric)

    def cells(kind: str, values: Sequence[object]) -> Html:
        return element(
            "tr",
            *(element(kind, v, class_="num" if i in right else None) for i, v in enumerate(values)),
        )

    return element(
        "div",
        element(
            "table",
            element("thead", cells("th", headers)),
            element("tbody", *(cells("td", row) for row in rows)),
        ),
        class_="scroll",
    )


def tiles(facts: Iterable[tuple[str, object, str]]) -> Html:
    """Returns a row of headline figures, each a (label, figure, detail)."""
    return element(
        "div",
        *(
            element(
                "div",
                element("span", label, class_="label"),
                element("span", figure, class_="figure"),
                element("span", detail, class_="detail"),
                class_="tile",
            )
            for label, figure, detail in facts
        ),
        class_="tiles",
    )


def details(summary: object, *children: object, expanded: bool = False) -> Html:
    """Returns a block that opens when its summary is clicked."""
    return element("details", element("summary", summary), *children, open=expanded)


def page(
    title: str, *children: object, subtitle: object = "", style: str = "", script: str = ""
) -> str:
    """Returns a whole HTML document as text.

    Args:
      title: the title of the window and of the page.
      *children: the body, as for `element`.
      subtitle: a line under the title.
      style: CSS of this page, after the shared style sheet. Ours, never a user's text.
      script: JavaScript of this page, run at its end. Ours, never a user's text.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        # Nothing is fetched, whatever a model wrote.
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "img-src data:",
        ),
        element("title", title),
        element("style", Html(STYLE + style)),
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", title),
            element("p", subtitle, class_="note") if subtitle else None,
        ),
        element("main", *children),
        element("script", Html(script)) if script else None,
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _attribute_name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


STYLE = """
:root {
  color-scheme: light dark;
  --surface: #f7f7f5; --raised: #ffffff; --line: #dfdeda; --grid: #ecebe7;
  --ink: #16181d; --soft: #454951; --muted: #6d717a;
  --series-1: #2a6fd0; --series-2: #0f9d74; --series-3: #c77700; --series-4: #6c4bc4;
  --series-5: #cf3f5b; --series-6: #4c7a8c;
  --good: #0e7452; --good-wash: #e2f4ec; --bad: #b8323f; --bad-wash: #fbe8e8;
  --mark: #ffe39a; --mark-ink: #3b2c00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --surface: #14161a; --raised: #1c1f25; --line: #343841; --grid: #282c34;
    --ink: #eceef2; --soft: #c3c7cf; --muted: #969ba6;
    --series-1: #6aa3f2; --series-2: #3fc79a; --series-3: #eba53f; --series-4: #a78ef0;
    --series-5: #f07f93; --series-6: #86b6c8;
    --good: #56cfa2; --good-wash: #17362b; --bad: #f2848d; --bad-wash: #402024;
    --mark: #7a5b00; --mark-ink: #fff3cf;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1160px; padding: 32px 24px 64px; background: var(--surface);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; letter-spacing: -0.005em; }
h2 + .note { margin-top: -8px; }
h3 { font-size: 14px; margin: 0; font-weight: 600; }
p { margin: 0 0 12px; }
.note { color: var(--muted); margin: 0 0 14px; font-size: 14px; }
a { color: var(--series-1); }
code, pre, .mono { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
  monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.card, .tile { background: var(--raised); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 16px; margin: 0 0 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px;
  margin: 24px 0 8px; }
.tile { padding: 12px 14px; display: flex; flex-direction: column; }
.tile .label { color: var(--muted); font-size: 13px; }
.tile .figure { font-size: 24px; font-weight: 600; line-height: 1.3; }
.tile .detail { color: var(--muted); font-size: 13px; min-height: 1.5em; }
.scroll { overflow-x: auto; background: var(--raised); border: 1px solid var(--line);
  border-radius: 10px; margin: 0 0 14px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 8px 14px; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
th { color: var(--muted); font-weight: 500; font-size: 13px; white-space: nowrap;
  border-bottom-color: var(--line); }
tbody tr:last-child td { border-bottom: 0; }
.num { text-align: right; white-space: nowrap; }
details { background: var(--raised); border: 1px solid var(--line); border-radius: 10px;
  margin: 0 0 14px; }
summary { cursor: pointer; padding: 12px 16px; font-weight: 500; }
details > :not(summary) { padding: 0 16px 16px; }
mark { background: var(--mark); color: var(--mark-ink); border-radius: 3px; padding: 0 2px; }
.good { color: var(--good); } .bad { color: var(--bad); }
@media print { body { max-width: none; } section { break-inside: avoid-page; } }
"""
