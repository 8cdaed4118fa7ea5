"""Pages show model output as text, never as markup, and fetch nothing."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from tlm_jax.errors import UserError
from tlm_jax.reports.templating import printable, render, write_page


def test_strings_are_escaped_and_markup_is_not():
    line = {"title": "<b>", "unit": Markup("<i>x</i>"), "chart": None}
    shown = render("chart.html", **line)
    assert "&lt;b&gt;" in shown
    assert "<i>x</i>" in shown


def test_control_characters_and_lone_surrogates_are_shown_not_written():
    assert printable("a\x00\x1b[31m\n\tb\x9f\ud800") == "a\ufffd\ufffd[31m\n\tb\ufffd\ufffd"
    assert printable(Markup("<b>")) == "<b>"
    assert printable(None) == ""
    assert printable(3) == "3"


def test_page_is_well_formed_and_fetches_nothing():
    written = render(
        "run.html",
        title="<Run>\x1b",
        subtitle="a<b",
        styles=("chart.css",),
        scripts=("chart.js",),
        facts=[("loss", "0.1 <", "at step 2")],
        charts=[],
        skipped_note="n & m",
        evaluations=[["<t>", 3, "", "", "", "", "", "", ""]],
        tasks=[],
        files=[("config.gin", "</pre><script>alert(1)</script>")],
    )
    parser = _Balance()
    parser.feed(written)
    assert parser.open == []
    assert parser.resources == []
    assert "<t>" not in written
    assert '<td class="num">3</td>' in written
    assert written.count("<script>") == 1  # our own
    assert "default-src 'none'" in written
    written.encode("utf-8")


def test_a_page_is_whole_or_not_there(tmp_path: Path):
    write_page(tmp_path / "new" / "page.html", "text", make_folder=True)
    assert (tmp_path / "new" / "page.html").read_text() == "text"
    with pytest.raises(UserError, match=r"absent/page\.html cannot be written: No such file"):
        write_page(tmp_path / "absent" / "page.html", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


class _Balance(HTMLParser):
    """Keeps the elements that are still open, and whatever would be fetched."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.resources = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.resources += [v for k, v in attrs if k in ("src", "href")]
        if tag == "meta":
            self.open.pop()

    def handle_startendtag(self, tag, attrs):
        self.resources += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
