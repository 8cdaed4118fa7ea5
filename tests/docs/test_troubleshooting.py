"""The messages that the guide explains are messages of the program."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MESSAGES = re.findall(
    r"^- (`{1,2})(.+)\1\\$",
    (REPOSITORY / "docs" / "guide" / "troubleshooting.md").read_text(),
    flags=re.MULTILINE,
)


def _texts() -> list[str]:
    """Returns every text in the package's code; what an f-string fills in is a null character."""
    texts = []
    for path in (REPOSITORY / "tlm_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


TEXTS = _texts()


def test_there_are_forty():
    assert len(MESSAGES) >= 40


@pytest.mark.parametrize("message", [message for _, message in MESSAGES])
def test_message_is_the_programs(message):
    parts = [re.escape(part) for part in re.split(r"\.\.\.(?!\.)", message)]
    pattern = re.compile(".*".join(parts), flags=re.DOTALL)
    assert any(pattern.search(text) for text in TEXTS)
