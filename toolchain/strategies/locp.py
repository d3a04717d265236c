"""`locp`: latency-oriented choice among stair steps, in two stages (Zhang et al., J. Supercomputing 79, 2023).

The paper's, as its abstract has it: three-point discrimination of latency stair-steps gives the candidate widths;
a two-stage benefit assessment takes the dependencies between layers into account; latencies are shared. Its full
text is not public. Reconstructed here:

1. Candidates are the steps of each group (`LatencyModel.steps`), and nothing else.
2. Stage 1, the rate of a layer by itself: what the layers that write the group save, all else at full width, per
   importance lost. It finds each group's best step, sorts the groups, and asks the table for few latencies.
3. Stage 2, for the first groups of stage 1: what all layers save that write or read the group, members of an Add or
   Concat and inputs of consumers at their current widths, per importance lost. The best is taken; then stage 1 again.
4. The last step overshoots: steps are taken back, dearest first, while the table stays within the goal.
5. A table errs. The engine is built and timed, the table corrected, the choice made anew (`settle.py`).
6. Sharing: layers of one signature have one latency, across layers, runs and networks; the table counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.graph.plan import Plan
from toolchain.latency.contract import LatencyModel
from toolchain.strategies.contract import Found, Problem, Strategy
from toolchain.strategies.settle import counts_hold, edges, settle, touched_ms


@dataclass(frozen=True)
class Locp(Strategy):
    """Take the step with the best benefit, latency saved per importance lost, until the table meets the budget.

    `shortlist` is how many groups stage 2 looks at; `stage_two=False` decides by stage 1 alone.
    `tolerance` is how far under the budget a measured ratio may end.
    """

    shortlist: int = 16
    stage_two: bool = True
    tolerance: float = 0.01
    max_trials: int = 12

    def search(self, problem: Problem) -> Found:
        """Choose by the table, time, correct the table, choose anew."""

        def propose(latency: LatencyModel, goal: float) -> Plan:
            stairs = _Stairs(problem, latency, self.shortlist if self.stage_two else 1, self.stage_two)
            return stairs.descend(goal)

        return settle(problem, propose, max_trials=self.max_trials, tolerance=self.tolerance)


@dataclass(frozen=True)
class Step:
    """Narrow a group to a step: the milliseconds it saves and the importance it loses."""

    group: str
    width: int
    saved_ms: float
    loss: float

    @property
    def benefit(self) -> float:
        """Return what is saved per what is lost."""
        return self.saved_ms / max(self.loss, 1e-12)


class _Stairs:
    """The widths so far, and the candidates below them."""

    def __init__(self, problem: Problem, latency: LatencyModel, shortlist: int, stage_two: bool) -> None:
        self._problem = problem
        self._latency = latency
        self._shortlist = shortlist
        self._stage_two = stage_two
        groups = problem.analysis.prunable_groups
        self._edges = {group.name: edges(latency, group) for group in groups}
        self._losses = {(name, w): problem.loss(name, w) for name, steps in self._edges.items() for w in steps}
        self._own = {(name, w): self._own_ms(name, w) for name, steps in self._edges.items() for w in steps}
        self.widths = {group.name: group.width for group in groups}

    def descend(self, goal: float) -> Plan:
        """Take the best step until the goal is met or none is left, then take back what can be spared."""
        taken: list[Step] = []
        while not self._within(goal) and (best := self._best()):
            self.widths[best.group] = best.width
            taken.append(best)
        for step in sorted(taken, key=lambda step: step.benefit):
            self._take_back(step, goal)
        return self._problem.plan(self.widths)

    def _best(self) -> Step | None:
        """Return the step of the greatest benefit among those that stage 2 looks at and finds to save anything."""
        first = sorted(self._first_stage(), key=lambda step: -step.benefit)
        if not self._stage_two:
            return next((step for step in first if step.saved_ms > 0), None)
        for start in range(0, len(first), self._shortlist):
            second = [self._second_stage(step) for step in first[start : start + self._shortlist]]
            best = max(second, key=lambda step: step.benefit)
            if best.saved_ms > 0:
                return best
        return None

    def _first_stage(self) -> Iterator[Step]:
        for name, steps in self._edges.items():
            narrower = [self._alone(name, width) for width in steps if width < self.widths[name]]
            if narrower:
                yield max(narrower, key=lambda step: step.benefit)

    def _alone(self, name: str, width: int) -> Step:
        now = self.widths[name]
        saved_ms = self._own[name, now] - self._own[name, width]
        return Step(name, width, saved_ms, self._losses[name, width] - self._losses[name, now])

    def _second_stage(self, step: Step) -> Step:
        after = {**self.widths, step.group: step.width}
        before_ms, after_ms = (touched_ms(self._latency, step.group, widths) for widths in (self.widths, after))
        return Step(step.group, step.width, before_ms - after_ms, step.loss)

    def _own_ms(self, name: str, width: int) -> float:
        writers = (block for block in self._latency.blocks if name in block.output.groups)
        return sum(self._latency.block_ms(block, {name: width}) for block in writers)

    def _take_back(self, step: Step, goal: float) -> None:
        """Widen a group again, as far as the goal allows."""
        narrow = self.widths[step.group]
        for width in reversed([edge for edge in self._edges[step.group] if edge > narrow]):
            self.widths[step.group] = width
            if self._within(goal):
                return
        self.widths[step.group] = narrow

    def _within(self, goal: float) -> bool:
        return self._latency.predict(self.widths) <= goal and counts_hold(
            self._problem, self._problem.plan(self.widths)
        )
