"""Configuration of the site; `scripts/docs` builds it."""

import sys
from pathlib import Path

import sphinx.application

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "_site"))

import docstrings  # noqa: E402

project = "tlm_jax"
author = "The authors of tlm_jax"
extensions = ["myst_parser", "autoapi.extension"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_site"]
# Letters of shapes (T, B) and names of fields are names in many modules, and no links.
suppress_warnings = ["ref.python", "autoapi.python_import_resolution"]

# The same anchors as GitHub gives to headings, so that links work in both places.
myst_heading_anchors = 3

# Read from the source, not imported: no module is loaded, TensorFlow least of all, and shapes such
# as "B T" stay the text that they are.
autoapi_dirs = ["../tlm_jax"]
autoapi_root = "api"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_python_class_content = "class"
autoapi_keep_files = True  # only what changed is read again
autoapi_own_page_level = "module"

# Comes with Sphinx. The sidebar opens the current branch only: with all modules in it, each of 500
# pages would hold, and take the time of, a list of 500.
html_theme = "alabaster"
html_theme_options = {
    "description": "Small language models that reason",
    "fixed_sidebar": True,
    "page_width": "72rem",
    "sidebar_width": "17rem",
    "sidebar_collapse": True,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_title = "tlm_jax"


def setup(app: sphinx.application.Sphinx) -> None:
    """Turns docstrings into reStructuredText before they are written."""
    app.connect("autodoc-process-docstring", _convert)
    app.connect("source-read", _link_within_the_site)


def _convert(app: object, kind: str, name: str, thing: object, options: object, lines: list[str]):
    lines[:] = docstrings.converted(lines)


def _link_within_the_site(app: object, page: str, source: list[str]) -> None:
    """Lets pages link to CONTRIBUTING.md as they must for GitHub; the site has it as a page."""
    source[0] = source[0].replace("../../CONTRIBUTING.md", "../contributing.md")
