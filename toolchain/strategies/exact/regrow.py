"""What a budget leaves is spent: what is near the measured engines, as long as the network gets better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from toolchain.graph.plan import Plan
from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.contract import Divergence, Found, Problem, Trial
from toolchain.strategies.exact.exchange import changes
from toolchain.strategies.exact.instance import Candidates
from toolchain.strategies.exact.losses import Point
from toolchain.strategies.settle import Prediction, counts_hold, expected_error, listed

MOST_JUDGED = 6
"""How many changes are repaired and judged before one is built: those that the losses like best."""

CLEARLY = 0.95
"""What a change must bring the divergence down to, as a share, where little of the budget is left: some hundred samples
tell no less, and the best of several seems better than it is."""


@dataclass(frozen=True, eq=False)
class Regrowing:
    """The candidates and their losses, how widths and plans belong together, and when to end.

    At most `max_builds` engines are built in all, and at most `max_refusals` that turn out to be over the budget. Less
    than `tolerance` of the budget is little. Without a `divergence` the losses judge.
    """

    problem: Problem
    candidates: Candidates
    losses: Mapping[Point, float]
    plan_of: Callable[[Widths], Plan]
    widths_of: Callable[[Plan], Widths]
    divergence: Divergence | None
    max_builds: int
    max_refusals: int
    tolerance: float

    def grown(self, found: Found) -> Found:
        """Build what is near the engines measured so far until nothing is clearly better."""
        assert found.best is not None
        best, trials = self._least_diverging(found.trials), list(found.trials)
        predictions: list[Prediction] = []
        refused = 0
        while len(trials) < self.max_builds and refused < self.max_refusals:
            plan = self._better(best, trials, expected_error(predictions))
            if plan is None:
                break
            predicted = self._latency(trials).predict(self.widths_of(plan))
            trials.append(self.problem.attempt_plan(plan))
            predictions.append(Prediction(predicted, trials[-1].comparison.ratio))
            if trials[-1].met:
                best = trials[-1]
            else:
                refused += 1
        regrown = f"regrown from {found.best.comparison.ratio:.1%} to {best.comparison.ratio:.1%} of the latency"
        regrown += f", predicted/measured {listed(predictions)}" if predictions else ""
        return replace(found, best=best, trials=tuple(trials), notes=(*found.notes, regrown))

    def _least_diverging(self, trials: Iterable[Trial]) -> Trial:
        """Return the trial within the budget that is best, not the one that uses most of it."""
        met, divergence = [trial for trial in trials if trial.met], self.divergence
        if divergence is None:
            return max(met, key=lambda trial: trial.comparison.ratio)
        return min(met, key=lambda trial: divergence(trial.plan))

    def _better(self, best: Trial, trials: Sequence[Trial], margin: float) -> Plan | None:
        """Return the plan near a measured one that is clearly better than the best; None where there is none."""
        near = islice(self._near(trials, margin), MOST_JUDGED)
        if self.divergence is None:
            plan, loss = next(near, (None, np.inf))
            return plan if loss < self._loss(self.widths_of(best.plan)) else None
        judged = {plan: self.divergence(plan) for plan, _ in near}
        if not judged:
            return None
        least = min(judged, key=lambda plan: judged[plan])
        little = self.problem.ratio - best.comparison.high <= self.tolerance
        return least if judged[least] < (CLEARLY if little else 1.0) * self.divergence(best.plan) else None

    def _near(self, trials: Sequence[Trial], margin: float) -> Iterator[tuple[Plan, float]]:
        """Yield plans that are predicted to be within the budget by a margin, and their losses, the least first.

        Trials over the budget count as well: next to a better network that is too slow may be the best one within.
        """
        latency, known, found = self._latency(trials), {trial.plan for trial in trials}, []
        for trial in trials:
            spare = self.problem.ratio - trial.comparison.high - margin
            near = changes(self.candidates, latency, self.widths_of(trial.plan), spare)
            found += [(self._loss(widths), widths) for widths in near]
        for loss, widths in sorted(found, key=lambda item: item[0]):
            plan = self.plan_of(widths)
            if plan not in known and counts_hold(self.problem, plan):
                known.add(plan)
                yield plan, loss

    def _loss(self, widths: Widths) -> float:
        return sum(self.losses[point] for point in widths.items())

    def _latency(self, trials: Iterable[Trial]) -> LatencyModel:
        latency = self.problem.latency
        for trial in trials:
            latency = latency.corrected(self.widths_of(trial.plan), trial.comparison.ratio)
        return latency
