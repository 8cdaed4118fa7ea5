"""A home directory that is not known is named where one is asked for, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.system.home import expanded


def test_home_is_found_where_it_is_known(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert expanded("~/a") == Path("/somewhere/a")
    assert expanded("a/~") == Path("a/~")


def test_a_home_that_is_not_known_is_named():
    with pytest.raises(UserError, match=r"^~nobody-here/a: the home directory of '~nobody-here'"):
        expanded("~nobody-here/a")


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(UserError, match=r"^a path is empty: .*'.' is the current folder$"):
        expanded("")
    assert expanded(".") == Path()
