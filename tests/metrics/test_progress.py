"""Plain lines are short and aligned; a terminal gets a bar."""

import io

from tlm_jax.metrics.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines():
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(0, 1000, stream=stream, clock=lambda: now[0])
    progress.advance(1)
    assert stream.getvalue() == ""
    now[0] = 9.0
    progress.report(10, {"loss": 2.34567, "learning_rate": 0.001, "tokens_per_second": 12345.6})
    now[0] = 999.0
    progress.report(1000, {"loss": 0.5, "learning_rate": 0.0001, "tokens_per_second": 999.0})
    progress.line("saved")
    progress.close()
    assert stream.getvalue().splitlines() == [
        "step   10/1000  loss  2.3457  lr 1.00e-03  tok/s    12,346  left 16m30s",
        "step 1000/1000  loss  0.5000  lr 1.00e-04  tok/s       999  left 0s",
        "saved",
    ]


def test_a_resumed_run_estimates_from_its_own_steps():
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(500, 1000, stream=stream, clock=lambda: now[0])
    progress.report(501, {})
    now[0] = 99.0
    progress.report(600, {})
    first, second = stream.getvalue().splitlines()
    assert first.endswith("left ?")
    assert second.endswith("left 6m40s")


def test_a_terminal_gets_a_bar_and_lines_above_it():
    stream = Terminal()
    progress = Progress(0, 8, stream=stream)
    progress.advance(1)
    progress.report(4, {"loss": 1.25})
    progress.line("checkpoint [4] saved")
    progress.close()
    written = stream.getvalue()
    assert "4/8" in written
    assert "loss 1.2500" in written
    # Brackets are text, not markup.
    assert "checkpoint [4] saved" in written


def test_durations():
    assert [duration(s) for s in (0, 42.4, 185, 7620, 273600)] == [
        "0s",
        "42s",
        "3m05s",
        "2h07m",
        "3d04h",
    ]
