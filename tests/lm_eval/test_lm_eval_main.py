"""`python -m tlm_jax.lm_eval` without the harness, and how the harness finds the model."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval import __main__ as main

ROOT = Path(__file__).parents[2]


def test_without_the_harness_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install 'tlm_jax\[lm_eval\]'"):
        main.main(["--model", "tlm_jax"])


def test_the_entry_point_names_the_class():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    value = project["entry-points"]["lm_eval.models"]["tlm_jax"]
    entry = importlib.metadata.EntryPoint("tlm_jax", value, "lm_eval.models")
    assert (entry.module, entry.attr) == ("tlm_jax.lm_eval.model", "TlmJaxLM")
    spec = importlib.util.find_spec(entry.module)
    assert spec is not None
    assert f"class {entry.attr}(" in Path(str(spec.origin)).read_text()


def test_nothing_heavy_is_imported_before_the_harness_is_found():
    code = "import sys, tlm_jax.lm_eval.__main__; print({'jax', 'flax'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert found.stdout.strip() == "set()", found.stderr
