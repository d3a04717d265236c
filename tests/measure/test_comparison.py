from dataclasses import replace

import pytest

from toolchain.measure.comparison import Comparison
from toolchain.measure.latency import Latency
from toolchain.targets.contract import Clock
from toolchain.targets.engine import Identity

LATENCY = Latency(
    samples_ms=(1.0, 2.0, 3.0, 4.0, 10.0),
    low_ms=2.7,
    high_ms=3.3,
    clock=Clock.DEVICE,
    warm_up_runs=10,
    warm_up_seconds=1.0,
    batch=1,
    identity=Identity("t", "d", "r", "float16"),
)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.90, 0.99, "faster"),
        (0.90, 1.00, "no difference"),
        (0.99, 1.01, "no difference"),
        (1.00, 1.10, "no difference"),
        (1.01, 1.10, "slower"),
    ],
)
def test_a_difference_is_said_only_if_the_interval_excludes_one(low, high, verdict):
    ratio = (low + high) / 2
    found = Comparison(LATENCY, LATENCY, (ratio,), ratio, low, high, converged=True)
    assert found.verdict == verdict
    assert found.half_width == pytest.approx((high - low) / 2 / ratio)


def test_a_latency_is_read_off_its_samples():
    assert LATENCY.median_ms == 3.0
    assert LATENCY.p10_ms == pytest.approx(1.4)
    assert LATENCY.p90_ms == pytest.approx(7.6)
    assert LATENCY.half_width == pytest.approx(0.1)
    assert LATENCY.precision == "float16"


def test_the_noise_of_a_latency_is_half_its_interval_and_all_of_a_time_below_the_clocks_ticks():
    assert LATENCY.half_width == pytest.approx(0.1)
    assert replace(LATENCY, samples_ms=(0.0, 0.0, 0.0), low_ms=0.0, high_ms=0.0).half_width == 1.0
