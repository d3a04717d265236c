"""`hilp`: hardware in the loop (Li et al., Neural Computing & Applications 36, 2024).

The paper's, as its abstract has it: a fast search for the best pruning rate of a layer; every intermediate network
becomes an engine and is timed; all layers are traversed, and the best intermediate network is the next step's start.
From its open ancestor (ACCV 2020): units ranked within a layer by |gradient * weight|, a bisection per layer for the
most that can go within a loss tolerance, always from the network at the start of the step. Reconstructed here:

1. The loss is the divergence of the network's outputs from the original's, on samples that repair and scores have not
   seen (the ancestor tuned on its test set). Between steps the network is repaired, not trained: a candidate is the
   repaired start of its step with one group cut further, as it is.
2. Bisection is over the widths that the target likes. Removing the whole branch is a candidate of its own.
3. The best candidate is the one with most latency saved, as timed, per divergence added.
4. The tolerance doubles where no group passes or nothing is saved, and grows where at the pace of the last step the
   builds would not last.
5. The last cut is made as shallow as the budget allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from toolchain.errors import UsageError
from toolchain.graph.analysis import Group
from toolchain.graph.plan import Plan
from toolchain.latency.contract import Widths
from toolchain.strategies.contract import Divergence, Found, Importance, Problem, Strategy, Trial
from toolchain.strategies.settle import best_of

MOST_DOUBLINGS = 30
"""After so many doublings in a row no tolerance will do."""

FASTEST_GROWTH = 8.0
"""By how much the tolerance may grow from one step to the next."""

LEAST_SHARE = 0.1
"""Divergence below this share of the tolerance is noise: a candidate is not preferred for having still less."""


@dataclass(frozen=True)
class Hilp(Strategy):
    """Cut every group as deep as the loss tolerance allows, time each, keep the best, repeat.

    `loss_tolerance` is the divergence that one step may add, in nats for class scores. `max_builds` bounds the
    engines. `blocks=False` keeps all branches. Raises UsageError without samples.
    """

    criterion: ClassVar[str] = "taylor"

    loss_tolerance: float = 0.02
    max_builds: int = 200
    blocks: bool = True

    def search(self, problem: Problem) -> Found:
        """Step until a timed candidate is within the budget."""
        if problem.divergence is None:
            raise UsageError("strategy hilp judges candidates on samples", hint="add --data, or use --strategy greedy")
        return _Loop(problem, problem.divergence, self.loss_tolerance, self.max_builds, self.blocks).run()


@dataclass(frozen=True, eq=False)
class _Start:
    """Where a step starts."""

    widths: Widths
    plan: Plan
    importance: Importance
    ratio: float
    divergence: float


@dataclass(frozen=True, eq=False)
class _Cut:
    """One group narrowed within the tolerance: what the whole network is then, and the divergence it adds."""

    group: str
    widths: Widths
    plan: Plan
    added: float


@dataclass(eq=False)
class _Loop:
    """The progress of one search."""

    problem: Problem
    divergence: Divergence
    tolerance: float
    max_builds: int
    blocks: bool
    trials: dict[Plan, Trial] = field(default_factory=dict)
    steps: int = 0
    doublings: int = 0

    def run(self) -> Found:
        groups = self.problem.analysis.prunable_groups
        start = _Start(
            {group.name: group.width for group in groups},
            Plan(model_sha256=self.problem.model_sha256),
            self.problem.importance,
            1.0,
            0.0,
        )
        while self._left and self.doublings <= MOST_DOUBLINGS and self._narrower(start):
            cuts = self._cuts(start)
            timed = [(cut, self._trial(cut.plan)) for cut in cuts]
            best = self._best(timed, start)
            if best is None:
                self._double()
                continue
            cut, trial = best
            self.steps += 1
            if trial.met:
                self._shallowest(start, cut)
                break
            self._keep_pace(start.ratio - trial.comparison.ratio, trial.comparison.ratio, len(cuts))
            start = self._next_start(cut, trial)
        return self._found()

    @property
    def _left(self) -> int:
        return self.max_builds - len(self.trials)

    def _narrower(self, start: _Start) -> Mapping[str, list[int]]:
        """Return the groups that can still be narrowed, with their widths to choose from, widest first."""
        choices = {group.name: self._choices(group, start) for group in self.problem.analysis.prunable_groups}
        return {name: widths for name, widths in choices.items() if widths}

    def _choices(self, group: Group, start: _Start) -> list[int]:
        least = 0 if self.blocks else 1
        return [width for width in self.problem.choices(group) if least <= width < start.widths[group.name]]

    def _cuts(self, start: _Start) -> list[_Cut]:
        """Return the deepest cut within the tolerance of every group that has one, as many as may still be built."""
        self.problem.progress(f"step {self.steps + 1}: looking for the deepest cut of each group")
        found = [self._deepest(name, widths, start) for name, widths in self._narrower(start).items()]
        cuts = [cut for cut in found if cut]
        if len(cuts) > self._left:
            cuts.sort(key=lambda cut: self.problem.stair_macs(cut.plan))
        return cuts[: self._left]

    def _deepest(self, name: str, choices: list[int], start: _Start) -> _Cut | None:
        """Try the whole branch, then bisect for the narrowest width within the tolerance."""
        widths = [width for width in choices if width]
        if len(widths) < len(choices) and (cut := self._within(name, 0, start)):
            return cut
        best, low, high = None, 0, len(widths)
        while low < high:
            middle = (low + high) // 2
            if cut := self._within(name, widths[middle], start):
                best, low = cut, middle + 1
            else:
                high = middle
        return best

    def _within(self, name: str, width: int, start: _Start) -> _Cut | None:
        cut = self._cut(name, width, start)
        return cut if cut.added <= self.tolerance else None

    def _cut(self, name: str, width: int, start: _Start) -> _Cut:
        widths = self.problem.whole({**start.widths, name: width})
        plan = self.problem.plan(widths, start.importance)
        return _Cut(name, widths, plan, self.divergence(plan, start.plan) - start.divergence)

    def _trial(self, plan: Plan) -> Trial:
        if plan not in self.trials:
            self.trials[plan] = self.problem.attempt_plan(plan)
        return self.trials[plan]

    def _best(self, timed: list[tuple[_Cut, Trial]], start: _Start) -> tuple[_Cut, Trial] | None:
        """Return the candidate of the best gain among those that are faster; those within the budget go first."""

        def gain(item: tuple[_Cut, Trial]) -> float:
            cut, trial = item
            return (start.ratio - trial.comparison.ratio) / max(cut.added, LEAST_SHARE * self.tolerance)

        faster = [item for item in timed if item[1].comparison.ratio < start.ratio]
        met = [item for item in faster if item[1].met]
        return max(met or faster, key=gain, default=None)

    def _double(self) -> None:
        self.tolerance *= 2
        self.doublings += 1

    def _keep_pace(self, saved: float, ratio: float, builds_per_step: int) -> None:
        """Loosen the tolerance where steps like this one would not reach the budget with the builds that are left."""
        self.doublings = 0
        reach, gap = saved * self._left / builds_per_step, ratio - self.problem.ratio
        self.tolerance *= min(max(gap / max(reach, 1e-9), 1.0), FASTEST_GROWTH)

    def _next_start(self, cut: _Cut, trial: Trial) -> _Start:
        importance = self.problem.score(self.problem.criterion, cut.plan)
        return _Start(cut.widths, cut.plan, importance, trial.comparison.ratio, self.divergence(cut.plan))

    def _shallowest(self, start: _Start, cut: _Cut) -> None:
        """Bisect between the start and the last cut for the widest that still meets the budget."""
        widths = [width for width in self._narrower(start)[cut.group] if width > cut.widths[cut.group]]
        low, high = 0, len(widths)
        while low < high and self._left:
            middle = (low + high) // 2
            if self._trial(self._cut(cut.group, widths[middle], start).plan).met:
                high = middle
            else:
                low = middle + 1

    def _found(self) -> Found:
        best = best_of(self.trials.values())
        note = f"{self.steps} steps, {len(self.trials)} engines of at most {self.max_builds} built"
        notes = (note, f"the loss tolerance of a step ended at {self.tolerance:.3g}")
        return Found(best, tuple(self.trials.values()), bool(best and best.met), notes)
