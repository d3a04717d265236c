"""How carefully an engine is timed: as long as what depends on the answer asks for."""

from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from toolchain.measure.comparison import Comparison
from toolchain.measure.protocol import Protocol

CLOSE = 0.0025
"""How near to a limit a ratio may lie, relative to it, and be told from it in the time there is."""

CLOSE_SECONDS = 60.0


class Care(Enum):
    """1. QUICK finds the way: a search may be wrong by a percent.

    2. DECIDING says whether an engine near its budget is within it: its interval is a margin that the engine is slower
       by than it need be, so it is made narrow.
    3. FINAL is for what is reported.
    """

    QUICK = Protocol(warm_up_seconds=0.2, min_rounds=6, max_seconds=4.0, half_width=0.015, confidence=0.95)
    DECIDING = Protocol(warm_up_seconds=0.2, max_seconds=30.0, half_width=0.005)
    FINAL = Protocol(max_seconds=30.0)

    @property
    def closer(self) -> Protocol:
        """How an engine is timed again whose interval holds the limit that it is held against."""
        return replace(self.value, half_width=CLOSE, max_seconds=CLOSE_SECONDS)


def held_against(limit: float | None, care: Care, timed: Callable[[Protocol], Comparison]) -> Comparison:
    """Time with care; where the interval holds the limit, once more and closer.

    The second measurement stands alone: one that went on until it pleased would be partial.
    """
    comparison = timed(care.value)
    undecided = limit is not None and comparison.undecided(limit)
    return timed(care.closer) if undecided else comparison
