"""What a person sees of a long generation."""

import io

from tlm_jax.metrics.sample_progress import SampleProgress


def test_lines_come_now_and_then_with_rates_of_this_run_alone():
    now = [0.0]
    stream = io.StringIO()
    with SampleProgress(110, done=10, stream=stream, clock=lambda: now[0]) as progress:
        for _ in range(50):
            now[0] += 0.5
            progress.advance(20)
        progress.line("a note")
        assert progress.rates() == "2.00 samples/s, 40.0 tokens/s"
    assert stream.getvalue().splitlines() == [
        "30 of 110 samples, 2.00 samples/s, 40.0 tokens/s, 40s left",
        "50 of 110 samples, 2.00 samples/s, 40.0 tokens/s, 30s left",
        "a note",
    ]
