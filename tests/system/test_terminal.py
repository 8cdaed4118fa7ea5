"""Texts of others are shown, never obeyed, and tables are not cut where no terminal is."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

from rich.console import Console
from rich.table import Table

from tlm_jax.evaluation.predictions import Prediction
from tlm_jax.messages import text_of_content
from tlm_jax.reports import heat_map_terminal
from tlm_jax.reports.heat_map import HeatMap, StepView
from tlm_jax.runs.training import console
from tlm_jax.system import terminal
from tlm_jax.system.terminal import printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\ud800\r"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\u202e\ud800\r"


def test_what_a_terminal_would_obey_is_written_out():
    assert printable(HOSTILE) == SHOWN
    assert printable("é 🐦\n\tx") == r"é 🐦\n\tx"
    assert printable("é\n\tx", keep="\n\t") == "é\n\tx"


def test_heat_maps_and_predictions_show_escapes(capsys):
    step = StepView(7, "\x1b[31m", 0.5, 0.0, (("\x1b[1m", 0.5),), 0.5, 0.7, False)
    stream = io.StringIO()
    heat_map_terminal.draw([HeatMap("key", "id\x1b", (step,))], Console(file=stream, width=80))
    assert "\x1b" not in stream.getvalue()
    assert r"\x1b[31m" in stream.getvalue()
    told = Prediction("id\x1b", "2+2?\n\x1b[1m", "\x1b[2J5", "5", "4\x1b", False, 1, True, -1.0)
    result: Any = SimpleNamespace(predictions=[told])
    console._show_predictions(result, 1)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "missed: id\\x1b\n    2+2?\n    \\x1b[1m\n  > \\x1b[2J5\n" in shown


def test_the_text_of_a_message():
    def part(text):
        return {"type": "text", "text": text}

    assert text_of_content("a") == "a"
    assert text_of_content([part("a"), part("b")]) == "ab"
    thought = {"type": "thinking", "thinking": "x"}
    assert text_of_content([thought, part("b")], without=("thinking",)) == "b"
    for odd in (None, [], 5, [5], [thought], [part(None)], [{"type": "image_url", "text": "x"}]):
        assert text_of_content(odd) is None


def test_a_line_of_a_table_stays_one_line_in_a_pipe(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    table = Table("task")
    name = "word_problems_easy_cot_zero_shot" * 8
    table.add_row(name)
    terminal.console().print(table)
    assert name in sys.stdout.getvalue()


def test_width_is_taken_where_given(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal.console(40).width == 40
    assert terminal.console(piped_width=120).width == 120
