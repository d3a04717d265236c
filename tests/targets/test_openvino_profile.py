"""What is read from counters that hold means of all runs so far in whole microseconds."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest

from toolchain.targets.openvino_profile import SETTLE_RUNS, typical_ms, undisturbed

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Counter:
    """A counter as OpenVINO gives it."""

    node_name: str
    real_time: timedelta


def reads_of(runs_us):
    """Return the counters after the runs that settle and after each later one; `runs_us` is runs by kernels."""
    runs = np.arange(1, len(runs_us) + 1)[:, np.newaxis]
    means = np.floor(np.cumsum(np.floor(runs_us), axis=0) / runs)[SETTLE_RUNS - 1 :]
    return [[Counter(f"k{k}", timedelta(microseconds=mean)) for k, mean in enumerate(read)] for read in means.tolist()]


def runs_of(kernels_us, runs, jitter_us=0.5):
    """Return runs whose first one is slow, as it compiles and finds cold caches."""
    runs_us = np.array(kernels_us) + RNG.uniform(-jitter_us, jitter_us, (SETTLE_RUNS + runs, len(kernels_us)))
    runs_us[0] += 300
    return runs_us


@pytest.mark.parametrize("kernel_us", [3.3, 12.5, 80.9])
def test_what_was_rounded_down_is_put_back(kernel_us):
    found = [typical_ms(reads_of(runs_of([kernel_us], 30)), SETTLE_RUNS)["k0"] * 1e3 for _ in range(20)]
    assert np.abs(np.array(found) - kernel_us).max() < 0.5
    assert np.mean(found) == pytest.approx(kernel_us, abs=0.15)


def test_a_kernel_that_did_not_run_takes_nothing():
    assert typical_ms(reads_of(np.zeros((9, 1))), SETTLE_RUNS) == {"k0": 0.0}


def test_an_interruption_is_not_told_from_the_kernels_and_its_runs_are_left_out():
    runs_us = runs_of([50.0, 400.0], 20)
    runs_us[SETTLE_RUNS + 5, 1] += 16_000
    stretch = undisturbed((runs_us[SETTLE_RUNS:].sum(axis=1) / 1e3).tolist())
    assert (stretch.start, stretch.stop) == (6, 20)
    found = typical_ms(reads_of(runs_us)[stretch.start : stretch.stop + 1], SETTLE_RUNS + stretch.start)
    assert found["k0"] == pytest.approx(0.050, rel=0.02)
    assert found["k1"] == pytest.approx(0.400, rel=0.02)


def test_runs_that_are_all_disturbed_have_no_such_stretch():
    assert undisturbed([1.0, 9.0, 1.0, 9.0, 1.0, 9.0]) is None
    assert undisturbed([5.0]) is None
    assert undisturbed([9.0, 1.0, 1.05, 1.0]) == slice(1, 4)
