"""How fast the processor multiplies at the moment.

Its wide multipliers are slowed down at times. Measured on a cloud machine with AVX-512: a small matrix product takes
103.5 or 108.5 us, for seconds on end, while scalar code notices nothing. Of ONNX Runtime's kernels a 3x3 convolution
takes 5 % longer at the same time, a 1x1 3.6 %, a depthwise one 0.7 %; OpenVINO's take 0.3 %. That is as much as a stair
of a wide layer. So the kernels that multiply all the time are timed beside such products, and given at one pace.

Of a few channels they feel less of it. What was scaled is therefore doubtful, and replaced where it is timed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

SIZE = 64
"""Of a square matrix: the largest product that OpenBLAS leaves to one thread."""
PRODUCTS = 10
TURNS = 8
SAME = 0.01
MAX_CHANGES = 3
LONGEST_WAIT_SECONDS = 2.0


def product_us() -> float:
    """Return what some matrix products take: the shortest of a few turns, half a millisecond in all."""
    matrix, result = _matrix(), np.empty((SIZE, SIZE), np.float32)
    turns_s = []
    for _ in range(TURNS):
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            np.dot(matrix, matrix, out=result)
        turns_s.append(time.perf_counter() - start)
    return min(turns_s) * 1e6


@cache
def _matrix() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)


@dataclass(eq=False)
class Pace:
    """The pace that sessions are given at: `us` for the products, that of the first session unless it is set before."""

    us: float | None = None
    look: Callable[[], float] = product_us
    scaled: int = 0
    """How many sessions ran at another pace."""

    def given(self, session: Callable[[], list[float]]) -> list[float]:
        """Return what the runs of a session took, at this pace; repeat a session during which the processor's changed.

        A product that was interrupted must not make a session fast: the shorter of those before and after counts.
        """
        for _ in range(MAX_CHANGES):
            before_us, samples, after_us = self.look(), session(), self.look()
            if _same(before_us, after_us):
                break
        now_us = min(before_us, after_us)
        self.us = self.us or now_us
        if _same(now_us, self.us):
            return samples
        self.scaled += 1
        return [sample * self.us / now_us for sample in samples]

    def wait(self, seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Wait until the processor is at this pace, but not for longer than that."""
        start = time.perf_counter()
        while self.us and not _same(self.look(), self.us) and time.perf_counter() - start < seconds:
            time.sleep(0.01)


def _same(one_us: float, other_us: float) -> bool:
    return abs(one_us - other_us) <= SAME * other_us
