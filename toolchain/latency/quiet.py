"""Statistics of timings on a machine that others use too: they only ever add time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

AGREEMENT = 0.015
MAX_SESSIONS = 8


def quiet_ms(samples_ms: Sequence[float]) -> float:
    """Return the mean of the faster half: robust against disturbances, finer than the clock's ticks."""
    ordered = np.sort(samples_ms)
    return float(ordered[: (len(ordered) + 1) // 2].mean())


def quiet_sessions(session: Callable[[], list[float]], least: int = 2) -> list[list[float]]:
    """Open at least so many sessions, and on until the two fastest agree; return the fastest `least`, fastest first.

    Sessions differ by where their memory lies and by who else was there; more than `least` are for the latter.
    """
    found: list[list[float]] = []
    while len(found) < MAX_SESSIONS:
        found.append(session())
        found.sort(key=quiet_ms)
        if len(found) >= least and quiet_ms(found[1]) <= quiet_ms(found[0]) * (1 + AGREEMENT):
            break
    return found[:least]
