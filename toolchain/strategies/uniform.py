"""`uniform`: one ratio for all groups, rounded to what the target likes; the plainest baseline."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.graph.plan import Plan
from toolchain.latency.contract import Widths
from toolchain.strategies.contract import Found, Problem, Strategy, Trial, aligned_widths, fastest, slowest_within

RESOLUTION = 1 / 512
"""Ratios closer than this choose the same widths in any network."""


@dataclass(frozen=True)
class Uniform(Strategy):
    """Bisect the ratio until the widest network within the budget is found.

    w_g(r) = the narrowest aligned width that is at least r * W_g; latency falls with r but for noise.
    """

    max_trials: int = 8

    def search(self, problem: Problem) -> Found:
        """Halve the interval of ratios at every trial."""
        verdicts: dict[Plan, Trial] = {}
        narrow, wide = 0.0, 1.0
        while len(verdicts) < self.max_trials and wide - narrow > RESOLUTION:
            middle = (narrow + wide) / 2
            widths = _widths(problem, middle)
            plan = problem.plan(widths)
            trial = verdicts[plan] if plan in verdicts else problem.attempt(widths)
            verdicts[plan] = trial
            if trial.met:
                narrow = middle
            else:
                wide = middle
        trials = list(verdicts.values())
        within = slowest_within(trials)
        return Found(within or fastest(trials), tuple(trials), within is not None)


def _widths(problem: Problem, ratio: float) -> Widths:
    chosen = {}
    for group in problem.analysis.prunable_groups:
        wanted = [width for width in aligned_widths(group, problem.alignment) if width >= ratio * group.width]
        if wanted:
            chosen[group.name] = wanted[-1]
    return chosen
