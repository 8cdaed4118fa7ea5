"""What a person sees of a long copy."""

import io
import re

from tlm_jax.metrics.byte_progress import ByteProgress


def test_lines_come_now_and_then_and_at_the_end():
    now = [0.0]
    stream = io.StringIO()
    with ByteProgress(stream=stream, clock=lambda: now[0]) as progress:
        for done in range(1, 9):
            now[0] += 4.0
            progress.update(done * 10**9, 8 * 10**9)
    assert stream.getvalue().splitlines() == [
        "3.00 of 8.00 GB, 250 MB/s, 20s left",
        "6.00 of 8.00 GB, 250 MB/s, 8s left",
        "8.00 of 8.00 GB, 250 MB/s, 0s left",
    ]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar():
    stream = _Terminal()
    with ByteProgress(stream=stream) as progress:
        progress.update(500, 1000)
        progress.update(1000, 1000)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "1.0/1.0 kB" in text
    assert "\u2501" in text
