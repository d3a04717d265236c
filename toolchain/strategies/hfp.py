"""`hfp`: hardware-aware filter pruning by global ranking and Opti-Cut (Yu et al., ICPR 2020).

The paper's, as its abstract has it: a look-up table of latencies per layer over filter configurations; information
gain ranks all filters of the network together; Opti-Cut removes those of least gain one by one, iteratively, until
the budget holds. Its full text is not public. Reconstructed here:

1. A filter is a unit: one channel with everything that is tied to it, so residual streams are pruned too.
2. After each removal the table answers for the layer that lost an output and for those that lost an input.
3. Opti-Cut's rounds: each closes a share of what is left to the budget; then the gains are computed anew in the
   repaired network. Within a round the order is fixed and latency falls along it, so bisection finds where to stop.
4. HFP removes single units. Where the target has stairs, the table is asked at the next wider step, which is no
   slower, and the units up to it, the last ones removed, stay.
5. A table errs. The engine is built and timed, the table corrected, the cut made longer or shorter (`settle.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from toolchain.graph.plan import Plan, make_plan
from toolchain.latency.contract import LatencyModel
from toolchain.strategies.contract import Found, Importance, Problem, Strategy
from toolchain.strategies.settle import counts_hold, edges, settle

Unit = tuple[str, int]
"""A group, and a position in it."""


@dataclass(frozen=True)
class Hfp(Strategy):
    """Remove the units of least information gain, wherever they are, until the table meets the budget.

    `shrink` is the share of the remaining gap that a round of Opti-Cut closes; `smallest_round` bounds it below, in
    points of the original's latency. `tolerance` is how far under the budget a measured ratio may end.
    """

    criterion: ClassVar[str] = "information-gain"

    shrink: float = 0.5
    smallest_round: float = 0.02
    tolerance: float = 0.01
    max_trials: int = 12

    def search(self, problem: Problem) -> Found:
        """Cut by the table, time, correct the table, move the cut."""
        cut = OptiCut(problem, self.shrink, self.smallest_round)
        found = settle(problem, cut.propose, max_trials=self.max_trials, tolerance=self.tolerance)
        return replace(found, notes=(f"{cut.rounds} rounds of Opti-Cut, gains computed anew in each", *found.notes))


class OptiCut:
    """The order in which units go, grown in rounds; any leading part of it is a cut."""

    def __init__(self, problem: Problem, shrink: float, smallest_round: float) -> None:
        self._problem = problem
        self._shrink = shrink
        self._smallest_round = smallest_round
        self._steps: dict[str, tuple[int, ...]] = {}
        self.order: list[Unit] = []
        self.rounds = 0

    def propose(self, latency: LatencyModel, goal: float) -> Plan:
        """Return the shortest cut that the table predicts to be within the goal, lengthening the order for it."""
        while not self._within(latency, self.order, goal) and (following := self._following()):
            self._lengthen(latency, goal, following)
        length = _bisect(0, len(self.order), lambda count: self._within(latency, self.order[:count], goal))
        return self._plan(latency, self.order[:length])

    def _lengthen(self, latency: LatencyModel, goal: float, following: list[Unit]) -> None:
        """Run one round: remove the units that follow until its share of the gap is closed."""
        ratio = self._ratio(latency, self.order)
        target = ratio - max(self._shrink * (ratio - goal), self._smallest_round)
        order = [*self.order, *following]
        enough = _bisect(len(self.order) + 1, len(order), lambda count: self._ratio(latency, order[:count]) <= target)
        self.order = order[:enough]
        self.rounds += 1

    def _following(self) -> list[Unit]:
        """Return the units that are left, those of least gain first; the last unit of a group stays."""
        gains = self._gains()
        gone = set(self.order)
        left = Counter({group.name: group.width for group in self._problem.analysis.prunable_groups})
        left.subtract(name for name, _ in self.order)
        ranked = sorted(
            (float(gain), name, position)
            for name, values in gains.items()
            for position, gain in enumerate(values)
            if (name, position) not in gone
        )
        following = []
        for gain, name, position in ranked:
            if left[name] > 1 and np.isfinite(gain):
                left[name] -= 1
                following.append((name, position))
        return following

    def _gains(self) -> Importance:
        if not self.order:
            return self._problem.importance
        removed = make_plan(self._problem.analysis, self._problem.model_sha256, _positions(self.order))
        self._problem.progress(f"Opti-Cut: {len(self.order)} units removed, computing gains anew")
        return self._problem.score(self._problem.criterion, removed)

    def _within(self, latency: LatencyModel, order: Sequence[Unit], goal: float) -> bool:
        return self._ratio(latency, order) <= goal and counts_hold(self._problem, self._plan(latency, order))

    def _ratio(self, latency: LatencyModel, order: Sequence[Unit]) -> float:
        return latency.predict(self._widths(latency, order))

    def _widths(self, latency: LatencyModel, order: Sequence[Unit]) -> dict[str, int]:
        """Return the widths after these removals, each the next wider step."""
        gone = Counter(name for name, _ in order)
        widths = {}
        for group in self._problem.analysis.prunable_groups:
            steps = self._steps.setdefault(group.name, edges(latency, group))
            widths[group.name] = next(step for step in steps if step >= group.width - gone[group.name])
        return widths

    def _plan(self, latency: LatencyModel, order: Sequence[Unit]) -> Plan:
        widths = self._widths(latency, order)
        kept = {
            name: positions[: self._problem.analysis.by_name[name].width - widths[name]]
            for name, positions in _positions(order).items()
        }
        return make_plan(self._problem.analysis, self._problem.model_sha256, kept)


def _positions(order: Sequence[Unit]) -> dict[str, list[int]]:
    """Return the removed positions of each group, in the order in which they go."""
    found: dict[str, list[int]] = {}
    for name, position in order:
        found.setdefault(name, []).append(position)
    return found


def _bisect(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """Return the least number from `low` to `high` that is enough; `high` where none is."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
