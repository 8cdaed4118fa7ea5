"""Modules and files that the documentation names exist."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "tlm_jax"
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"lm_eval"}
"""Packages. The harness that `tlm_jax.lm_eval` is named after has modules of its own."""

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "guide").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "design").glob("*.md")),
]


def _names_in(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


def missing(name: str) -> bool:
    """Whether a dotted name, or a path, that begins with a package of ours leads nowhere."""
    parts = re.split(r"[./]", name.removesuffix(".py"))
    here = PACKAGE
    for number, part in enumerate(parts):
        if (here / part).is_dir():
            here = here / part
            continue
        module = here / f"{part}.py"
        rest = parts[number:]
        if module.exists():
            rest = parts[number + 1 :]
        else:
            module = here / "__init__.py"
        return bool(rest) and rest[0] not in _names_in(module)
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_modules_exist(page):
    spans = re.findall(r"`([^`\n]+)`", page.read_text())
    found = [
        match.removeprefix("tlm_jax.").removeprefix("tlm_jax/").rstrip("./")
        for span in spans
        for match in re.findall(r"(?<![\w./@-])(?:[a-z_]+(?:/\w+)+\.py|[a-z_]+(?:\.\w+)+)", span)
    ]
    ours = {name for name in found if re.split(r"[./]", name)[0] in ROOMS}
    ours -= {"metrics.jsonl"}  # a file of a run
    assert sorted(name for name in ours if missing(name)) == []
