"""Rates are what a hand calculation gives, over real tokens and without evaluations."""

from types import SimpleNamespace

import pytest

from tlm_jax.metrics.throughput import Throughput, peak_flops


def test_rates_by_hand():
    now = [100.0]
    meter = Throughput(peak_flops_per_second=4e12, clock=lambda: now[0])
    assert meter.rates() == {}
    now[0] = 102.0
    meter.add(tokens=300, examples=8, model_flops=1e12, wait_seconds=0.5)
    meter.add(tokens=500, examples=8, model_flops=1e12, wait_seconds=0.3)
    meter.pause()
    now[0] = 150.0
    meter.resume()
    now[0] = 152.0
    assert meter.rates() == {
        "tokens_per_second": 200.0,
        "examples_per_second": 4.0,
        "step_seconds": 2.0,
        "data_wait_share": pytest.approx(0.2),
        "model_flops_utilisation": pytest.approx(2e12 / 4 / 4e12),
    }
    meter.reset()
    assert meter.rates() == {}


def test_utilisation_needs_a_known_peak():
    now = [0.0]
    meter = Throughput(clock=lambda: now[0])
    meter.add(tokens=1, examples=1, model_flops=1.0)
    now[0] = 1.0
    assert "model_flops_utilisation" not in meter.rates()


@pytest.mark.parametrize(
    ("kind", "cores", "peak"),
    [
        # Chip figures: v4 275, v5e 197, v5p 459, v6e 918, 7x 2307 (two devices a chip).
        ("TPU v4", 2, 275e12),
        ("TPU v5 lite", 1, 197e12),
        ("TPU v5", 2, 459e12),
        ("TPU v6 lite", 1, 918e12),
        ("TPU7x", 1, 2307e12 / 2),
        ("NVIDIA H100 80GB HBM3", None, 989.4e12),
        ("NVIDIA H100 PCIe", None, 756e12),
        ("NVIDIA H200", None, 989.4e12),
        ("NVIDIA A100-SXM4-80GB", None, 312e12),
        ("NVIDIA L4", None, 121e12),
        ("cpu", None, None),
    ],
)
def test_peaks(kind, cores, peak):
    device = SimpleNamespace(device_kind=kind)
    if cores is not None:
        device.num_cores = cores
    assert peak_flops(device) == peak
