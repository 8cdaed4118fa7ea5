"""Pages show model output as text, never as markup."""

from html.parser import HTMLParser

from tlm_jax.reports.html import Html, details, element, escape, join, page, section, table, tiles


def test_strings_are_escaped_and_markup_is_not():
    assert element("p", "<b>", element("b", "x & y")) == "<p>&lt;b&gt;<b>x &amp; y</b></p>"
    assert escape(Html("<i>")) == "<i>"
    assert join(["a<", Html("<br/>")], ", ") == "a&lt;, <br/>"


def test_attributes_are_escaped_and_named():
    written = element("div", class_="a", data_id='"><script>', hidden=None, open=True)
    assert written == '<div class="a" data-id="&quot;&gt;&lt;script&gt;" open></div>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8"/>'


def test_control_characters_and_lone_surrogates_are_shown_not_written():
    assert escape("a\x00\x1b[31m\n\tb\x9f\ud800") == "a\ufffd\ufffd[31m\n\tb\ufffd?"
    escape("\udcff").encode("utf-8")


def test_page_is_well_formed_and_fetches_nothing():
    written = page(
        "<Run>",
        tiles([("loss", "0.1 <", "at step 2")]),
        section("Numbers", table(["task", "n"], [["<t>", 3]], numeric=[1]), note="n & m"),
        details("more", "x", expanded=True),
        subtitle="a<b",
    )
    parser = _Balance()
    parser.feed(written)
    assert parser.open == []
    assert parser.resources == []
    assert "<t>" not in written
    assert '<td class="num">3</td>' in written
    assert "<details open>" in written
    assert "default-src &#x27;none&#x27;" in written


class _Balance(HTMLParser):
    """Keeps the elements that are still open, and whatever would be fetched."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.resources = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.resources += [v for k, v in attrs if k in ("src", "href")]

    def handle_startendtag(self, tag, attrs):
        self.resources += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
