"""The rate that the emitted script takes: the highest whose trial is not clearly worse than the best."""

import math
import sys
from pathlib import Path

import pytest

from toolchain.emit.finetune import files

LADDER = (0.001, 0.003, 0.01, 0.03)


@pytest.fixture
def rate(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(files.__file__).parent))
    import finetune_rate

    yield finetune_rate
    for name in [name for name in sys.modules if name.startswith("finetune_")]:
        sys.modules.pop(name)


TAKEN = {
    "the last trial is a little worse": ([1.30, 1.29, 1.32], 0.01),
    "the last trial is no worse at all": ([1.30, 1.29, 1.29], 0.01),
    "the last trial is far worse": ([1.30, 1.29, 1.72], 0.003),
    "the last trial is not finite": ([1.30, 1.29, math.nan], 0.003),
    "every trial is better than the one before": ([1.3, 1.2, 1.1, 1.0], 0.03),
    "the second trial is far worse": ([1.3, 2.0], 0.001),
    "no trial is finite": ([math.nan, math.nan], 0.001),
}


@pytest.mark.parametrize(("losses", "taken"), TAKEN.values(), ids=list(TAKEN))
def test_the_rate_is_the_last_that_was_tried_unless_that_is_clearly_worse(losses, taken, rate):
    assert rate.chosen(LADDER, losses) == taken
