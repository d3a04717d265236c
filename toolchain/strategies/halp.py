"""`halp`: a knapsack of unit groups under a latency table (Shen et al., NeurIPS 2022).

The paper's: the units of a layer are sorted by importance and grouped by the layer's latency stair; a unit group's
value is its importance (section 3.1), its cost what the table says the layer takes more with it, at the current
width of its input (section 3.2, equation 4); the knapsack keeps the most valuable units within the budget, more
important ones of a layer before less important ones (section 3.3, equation 6); the budget is tightened over several
steps in which the widths of the neighbours are updated. Reconstructed or different here:

1. A layer's units are those of a group: layers whose outputs are tied are one item, their costs added up.
2. The knapsack is solved exactly, as a choice of one width per group, by HiGHS instead of the paper's augmented solver.
3. Between the steps nothing is trained. Where layers that write save nothing, those that read count too.
4. A table errs. The engine is built and timed, the table corrected, the knapsack solved anew (`settle.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from toolchain.graph.plan import Plan
from toolchain.latency.contract import LatencyModel, Widths
from toolchain.silence import silent_stdout
from toolchain.strategies.contract import Found, Problem, Strategy
from toolchain.strategies.settle import counts_hold, edges, settle, touched_ms

Vector = npt.NDArray[np.float64]

SMALLEST_SAVING = 0.005
"""The least that a knapsack saves, in points of the original's latency: the widths of neighbours lag by as much."""


@dataclass(frozen=True)
class Halp(Strategy):
    """Keep the most important units that fit into the budget.

    `shrink` is the share of what is left to the budget that one knapsack closes. `tolerance` is how far under the
    budget a measured ratio may end.
    """

    shrink: float = 0.5
    tolerance: float = 0.01
    max_trials: int = 12

    def search(self, problem: Problem) -> Found:
        """Pack by the table, time, correct the table, pack anew."""

        def propose(latency: LatencyModel, goal: float) -> Plan:
            return problem.plan(_Packing(problem, latency).pack(goal, self.shrink))

        return settle(problem, propose, max_trials=self.max_trials, tolerance=self.tolerance)


class _Packing:
    """The items of one table: for each group its widths, and the importance kept at each."""

    def __init__(self, problem: Problem, latency: LatencyModel) -> None:
        self._problem = problem
        self._latency = latency
        groups = problem.analysis.prunable_groups
        self._full = {group.name: group.width for group in groups}
        self._edges = {group.name: edges(latency, group) for group in groups}
        kept = {group.name: np.cumsum(np.sort(problem.importance[group.name])[::-1]) for group in groups}
        self._values = {(name, w): float(kept[name][w - 1]) for name, widths in self._edges.items() for w in widths}
        self._ms_per_ratio = self._scale()

    def pack(self, goal: float, shrink: float) -> Widths:
        """Solve knapsack after knapsack until the table, asked for all widths at once, meets the goal."""
        widths: Widths = self._full
        while (ratio := self._latency.predict(widths)) > goal or not self._counts_hold(widths):
            tighter = self._tighter(widths, shrink * (ratio - goal))
            if tighter == widths:
                break
            widths = tighter
        return widths

    def _tighter(self, now: Widths, saving: float) -> Widths:
        """Save so much, or as much as one knapsack can; the narrowest widths where that is nothing.

        1. By the paper's costs, those of the layers that write a group's units.
        2. Where these save nothing (blocked layouts take as long for 4 outputs as for 16), with those that read them.
        """
        for cost_ms in (self._writing_ms, self._touching_ms):
            wanted = max(saving, SMALLEST_SAVING)
            while (widths := self._solved(now, wanted, cost_ms)) is None and wanted > SMALLEST_SAVING:
                wanted = max(wanted / 2, SMALLEST_SAVING)
            if widths:
                return widths
        return {name: widths[0] for name, widths in self._edges.items()}

    def _solved(self, now: Widths, saving: float, cost_ms: Callable[[str, int, Widths], float]) -> Widths | None:
        """Solve one knapsack: choose a width, at most the present one, for each group; None where nothing fits.

        maximise  sum_g value_g(w_g)    subject to    sum_g cost_g(w_g) <= sum_g cost_g(now) - saving
        """
        items = [(name, width) for name, widths in self._edges.items() for width in widths if width <= now[name]]
        cost = np.array([cost_ms(name, width, now) for name, width in items])
        names = list(self._edges)
        one_each = csr_array(
            (np.ones(len(items)), ([names.index(name) for name, _ in items], range(len(items)))),
            shape=(len(names), len(items)),
        )
        capacity = sum(cost_ms(name, now[name], now) for name in names) - saving * self._ms_per_ratio
        chosen = _knapsack(np.array([self._values[item] for item in items]), cost, one_each, capacity)
        if chosen is None:
            return None
        return {name: width for (name, width), taken in zip(items, chosen, strict=True) if taken}

    def _writing_ms(self, name: str, width: int, now: Widths) -> float:
        """Return what the layers take that write a group, at this width and the present width of what they read."""
        writers = [block for block in self._latency.blocks if name in block.output.groups]
        return sum(self._latency.block_ms(block, {**now, name: width}) for block in writers)

    def _touching_ms(self, name: str, width: int, now: Widths) -> float:
        return touched_ms(self._latency, name, {**now, name: width})

    def _counts_hold(self, widths: Widths) -> bool:
        return counts_hold(self._problem, self._problem.plan(widths))

    def _scale(self) -> float:
        """Return how many milliseconds of layers one point of the whole engine's ratio is."""
        narrow = {name: widths[0] for name, widths in self._edges.items()}
        full_ms, narrow_ms = (
            sum(self._latency.block_ms(block, widths) for block in self._latency.blocks)
            for widths in (self._full, narrow)
        )
        ratio = self._latency.predict(self._full) - self._latency.predict(narrow)
        return (full_ms - narrow_ms) / ratio if ratio > 0 else 1.0


def _knapsack(value: Vector, cost: Vector, one_each: csr_array, capacity: float) -> npt.NDArray[np.bool_] | None:
    """Return which items to take, or None where even the cheapest do not fit."""
    scale = max(float(np.abs(cost).max(initial=0)), 1e-12)
    rows = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(csr_array(cost[None, :] / scale), -np.inf, capacity / scale),
    ]
    with silent_stdout():  # HiGHS prints from its depths
        solved = milp(
            -value / max(float(value.max(initial=0)), 1e-30),
            integrality=np.ones(len(value), np.int64),
            bounds=Bounds(0, 1),
            constraints=rows,
            options={"mip_rel_gap": 1e-4, "time_limit": 20.0},
        )
    return None if solved.x is None else solved.x > 0.5
