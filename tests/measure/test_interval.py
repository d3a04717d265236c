import numpy as np
import pytest

from toolchain.measure.interval import median_interval


@pytest.mark.parametrize("rounds", [8, 12, 30])
@pytest.mark.parametrize("tails", ["normal", "heavy", "outliers"])
def test_the_interval_covers_the_true_ratio_as_often_as_it_says(rounds, tails):
    rng = np.random.default_rng(rounds)
    draws = {
        "normal": lambda: rng.normal(0, 0.01, rounds),
        "heavy": lambda: 0.01 * rng.standard_t(2, rounds),
        "outliers": lambda: rng.normal(0, 0.01, rounds) + (rng.random(rounds) < 0.1) * rng.normal(0, 0.2, rounds),
    }
    covered = 0
    for _ in range(1000):
        low, high = median_interval(1.05 + draws[tails](), 0.95, rng)
        covered += low <= 1.05 <= high
    assert 900 <= covered <= 985


def test_more_values_give_a_narrower_interval():
    rng = np.random.default_rng(0)
    widths = [np.ptp(median_interval(rng.normal(1, 0.01, count), 0.95, rng)) for count in (10, 1000)]
    assert widths[1] < widths[0] / 4


def test_a_single_value_is_its_own_interval():
    assert median_interval(np.array([0.5]), 0.99, np.random.default_rng(0)) == (0.5, 0.5)
