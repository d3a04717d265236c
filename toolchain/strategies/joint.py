"""`joint`: all widths at once, exactly, by measured losses and latencies; then the engine corrects the table.

1. Candidates: the target's steps, and 0 where a branch can go.
2. A loss for every candidate: the criterion's, scaled by softened divergences measured on the repaired network
   (`losses.py`).
3. A latency for every pair of widths that a fused block reads and writes (`instance.py`).
4. The widths of least loss within the budget, by integer programming, to a stated gap (`milp.py`). Losses do not quite
   add up, so three more choices, by the criterion's own losses and, with either, step by step (`descent.py`), stand
   beside it: the repaired network that diverges least is taken.
5. The engine is built and timed, the table corrected, the programme solved anew, until the measured interval is within
   the budget and less than `tolerance` under it. What is left is spent on the steps, or exchanges of a step for
   another, after which the network diverges least, next to any engine measured so far (`regrow.py`).
6. In `rounds`: on the way to the budget, units are scored anew in the network as it is then.

HALP (Shen et al. 2022) chooses by a knapsack too, but with latencies per layer at fixed neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from toolchain.graph.analysis import Group
from toolchain.graph.plan import Plan
from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.contract import Found, Problem, Strategy, aligned_widths
from toolchain.strategies.exact.counts import counted
from toolchain.strategies.exact.descent import descend
from toolchain.strategies.exact.instance import Candidates, Model
from toolchain.strategies.exact.losses import Losses
from toolchain.strategies.exact.milp import Solution, solve, solve_cheapest
from toolchain.strategies.exact.probing import measure_losses
from toolchain.strategies.exact.regrow import Regrowing
from toolchain.strategies.settle import counts_hold, settle

Vector = npt.NDArray[np.float64]

AGREED = 1e-6
"""How far over a limit, as a share of the original's, a solution may be when all its widths are looked at together."""

TEMPERATURE = 4.0
"""Softens the outputs that candidates are judged by. The standard error of a divergence over 192 samples, on networks
near ResNet-56, is 15 % of it; at a temperature of 1 it is 50 % (`tests/bench/judging.py`)."""

MOST_SHIFTS = 4
"""How often the programme is solved again with lower limits because a solution is over."""


@dataclass(frozen=True)
class Joint(Strategy):
    """Least loss within the budget, exactly.

    `rounds` is how often units are scored, `probes` how many losses are measured in all, `max_widths` how many widths
    of a group are choices besides the full one and 0. At most `max_builds` engines are built; regrowing ends when
    `max_refusals` of them are over the budget. A measured ratio may end `tolerance` under the budget. A solution may be
    `gap` (relative) above the least loss; `seconds` bounds it, and one that is cut off may differ from run to run.

    `steps=no` offers every aligned width, `pairs=no` reads a table per layer, `blocks=no` keeps every branch,
    `probes=0` trusts the criterion, `judged=no` the sum of the losses, `regrow=no` leaves what is left of the budget:
    what each is worth can be measured.
    """

    criterion: ClassVar[str] = "wanda"

    rounds: int = 1
    probes: int = 12
    steps: bool = True
    pairs: bool = True
    blocks: bool = True
    judged: bool = True
    regrow: bool = True
    max_widths: int = 12
    max_builds: int = 12
    max_refusals: int = 2
    tolerance: float = 0.007
    gap: float = 1e-3
    seconds: float = 30.0

    def search(self, problem: Problem) -> Found:
        """Choose, build, correct; then spend what is left."""
        candidates = candidate_widths(self, problem)
        if all(len(widths) == 1 for widths in candidates.values()):
            return Found(None, (), False)
        if problem.divergence:
            problem = replace(problem, divergence=partial(problem.divergence, temperature=TEMPERATURE))
        search = _Search(self, problem, candidates)
        for number in range(1, self.rounds + 1):
            search.learn_losses(problem.ratio ** (number / self.rounds))
            if number < self.rounds:
                search.score_anew(problem.ratio ** (number / self.rounds))
        builds = max(self.max_builds - (self.max_refusals if self.regrow else 0), 1)
        found = settle(problem, search.propose, max_trials=builds, tolerance=self.tolerance)
        found = replace(found, notes=(*found.notes, *search.notes()))
        if self.regrow and found.best and found.met:
            return search.regrowing().grown(found)
        return found


def candidate_widths(options: Joint, problem: Problem) -> Candidates:
    """Return the widths to choose from; 0 where a branch can go or serves one that can."""
    goes = {name for others in problem.branches.values() for name in others} if options.blocks else set()
    found = {}
    for group in problem.analysis.prunable_groups:
        widths = _steps(options, problem, group)
        if len(widths) > options.max_widths:
            spread = np.linspace(0, len(widths) - 1, options.max_widths).round().astype(np.int64)
            widths = tuple(widths[number] for number in spread.tolist())
        found[group.name] = (group.width, *widths, *((0,) if group.name in goes else ()))
    return found


def _steps(options: Joint, problem: Problem, group: Group) -> tuple[int, ...]:
    aligned = aligned_widths(group, problem.alignment)
    if not options.steps:
        return tuple(aligned)
    return tuple(width for width in problem.latency.steps(group.name) if width < group.width) or tuple(aligned)


class _Search:
    """The losses known so far, and the programme they go into."""

    def __init__(self, options: Joint, problem: Problem, candidates: Candidates) -> None:
        self._options = options
        self._problem = problem
        self._model = Model.of(problem, problem.latency.blocks, candidates, pairs=options.pairs)
        self._importance = problem.importance
        self._losses = Losses.of(problem, candidates, problem.importance)
        self._solutions: list[Solution] = []

    def learn_losses(self, goal: float) -> None:
        """Measure the losses that matter on the way to a goal."""
        latency = self._problem.latency
        self._losses = measure_losses(
            self._problem,
            self._losses,
            self._importance,
            lambda losses: self._choose(latency, goal, losses),
            latency,
            self._options.probes,
        )

    def score_anew(self, goal: float) -> None:
        """Score what is left at a goal, in the network as it is then; what is gone stays less important."""
        problem = self._problem
        plan = problem.plan(self._by_itself(self._choose(problem.latency, goal, self._losses)), self._importance)
        left = problem.score(problem.criterion, plan)
        self._importance = {name: _merged(left[name], self._importance[name]) for name in left}
        again = Losses.of(problem, self._model.candidates, self._importance)
        self._losses = replace(again, measured=self._losses.measured)

    def propose(self, latency: LatencyModel, goal: float) -> Plan:
        """Return the plan of least divergence among those predicted to be within the goal, else the fastest one."""
        exact = self._plan(self._choose(latency, goal, self._losses))
        if not self._options.judged or self._problem.divergence is None:
            return exact
        plans = dict.fromkeys((exact, *self._other_opinions(latency, goal)))
        within = [plan for plan in plans if latency.predict(self._widths(plan)) <= goal + AGREED]
        return min(within, key=self._problem.divergence, default=exact) if len(within) > 1 else exact

    def _other_opinions(self, latency: LatencyModel, goal: float) -> Iterator[Plan]:
        criterions = [replace(self._losses, measured={})] if self._losses.measured else []
        for losses in criterions:
            yield self._plan(self._choose(latency, goal, losses))
        for losses in (self._losses, *criterions):
            plan = self._plan(descend(self._problem, self._model.candidates, losses.table(), latency, goal))
            if counts_hold(self._problem, plan):
                yield plan

    def regrowing(self) -> Regrowing:
        """Return what spends what is left of the budget, by the losses as they are known now."""
        options = self._options
        return Regrowing(
            self._problem,
            self._model.candidates,
            self._losses.table(),
            self._plan,
            self._widths,
            self._problem.divergence if options.judged else None,
            options.max_builds,
            options.max_refusals,
            options.tolerance,
        )

    def _widths(self, plan: Plan) -> Widths:
        kept = plan.widths(self._problem.analysis)
        return {name: kept[name] for name in self._model.candidates}

    def notes(self) -> tuple[str, ...]:
        """Say how exact and how quick the solutions were, and what was measured."""
        gap = max((solution.gap for solution in self._solutions), default=0.0)
        seconds = sum(solution.seconds for solution in self._solutions)
        return (
            f"{len(self._solutions)} programmes solved in {seconds:.1f} processor s, gap at most {100 * gap:.2f} %",
            f"{len(self._losses.measured)} losses measured",
        )

    def _plan(self, widths: Widths) -> Plan:
        return self._problem.plan(self._by_itself(widths), self._importance)

    def _by_itself(self, widths: Widths) -> Widths:
        """Leave out groups of width 0 that only go with another one."""
        return {name: width for name, width in widths.items() if width or name in self._problem.branches}

    def _choose(self, latency: LatencyModel, goal: float, losses: Losses) -> Widths:
        """Solve; again with lower limits while what the table or the counts say of all widths together is over."""
        table = losses.table()
        instance = self._model.instance(latency, lambda name, width: table[name, width], goal)
        limit = instance.limit
        for _ in range(MOST_SHIFTS):
            solution = solve(instance, seconds=self._options.seconds, gap=self._options.gap)
            if solution is None:
                break
            self._solutions.append(solution)
            used = [latency.predict(solution.widths), *counted(self._problem, self._plan(solution.widths))]
            excess = np.maximum(np.array(used) - limit, 0.0)
            if excess.max() <= AGREED:
                return solution.widths
            instance = replace(instance, limit=instance.limit - excess)
        cheapest = solve_cheapest(instance, seconds=self._options.seconds, gap=self._options.gap)
        return cheapest.widths if cheapest else {name: widths[-1] for name, widths in self._model.candidates.items()}


def _merged(left: Vector, before: Vector) -> Vector:
    """Take the scores of units that are left; those that are gone come below them, in their old order."""
    gone = np.isneginf(left)
    if gone.all() or not gone.any():
        return before if gone.all() else left
    least = left[~gone].min()
    merged: Vector = np.where(gone, np.minimum(before, np.nextafter(least, -np.inf)), left)
    return merged
