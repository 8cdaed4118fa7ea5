"""Docstrings become reStructuredText in which stars, bars and underscores mean themselves."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[2] / "docs" / "_site" / "docstrings.py"


def _converted(text: str) -> str:
    spec = importlib.util.spec_from_file_location("docstrings", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "\n".join(module.converted(text.splitlines()))


def test_markup_is_escaped_outside_code():
    assert _converted("|a| * b_ of `x_*`s") == "\\|a\\| \\* b\\_ of \\ ``x_*``\\ s\n\n"


def test_arguments_become_fields_on_one_line_each():
    text = "Adds.\n\nArgs:\n  a: first,\n    continued.\n  *b: others.\n\nReturns:\n  The sum."
    assert _converted(text).splitlines() == [
        "Adds.",
        "",
        ":param a: first, continued.",
        ":param \\*b: others.",
        ":returns: The sum.",
    ]


def test_text_behind_a_section_goes_before_the_fields():
    assert _converted("Args:\n  a: b.\n\nMore.").splitlines() == ["More.", "", ":param a: b."]


def test_lists_and_indented_examples_stand_apart():
    assert _converted("So:\n- one\n  more\n- two\n\n    x = 1\n").splitlines() == [
        *("So:", "", "* one more", "", "* two", "", "::", "", "    x = 1", "")
    ]
