"""How carefully an engine is timed: as long as what depends on the answer asks for."""

from enum import Enum

from toolchain.measure.protocol import Protocol


class Care(Enum):
    """1. QUICK finds the way: a search may be wrong by a percent.

    2. DECIDING says whether an engine near its budget is within it: its interval is a margin that the engine is slower
       by than it need be, so it is made narrow.
    3. FINAL is for what is reported.
    """

    QUICK = Protocol(warm_up_seconds=0.2, min_rounds=6, max_seconds=4.0, half_width=0.015, confidence=0.95)
    DECIDING = Protocol(warm_up_seconds=0.2, max_seconds=30.0, half_width=0.005)
    FINAL = Protocol(max_seconds=30.0)
