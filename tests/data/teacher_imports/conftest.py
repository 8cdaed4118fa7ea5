"""An import of answers, one after the other."""

from __future__ import annotations

import pytest
from imported_answers import Imported


@pytest.fixture
def imported(tmp_path, capsys):
    return Imported(tmp_path, capsys)
