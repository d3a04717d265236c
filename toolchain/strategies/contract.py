"""What a strategy is given, what it may try, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import gcd
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from toolchain.graph.analysis import Analysis, Group
from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.labels import Role
from toolchain.graph.plan import Plan, make_plan, removed_units
from toolchain.latency.contract import LatencyModel, Widths
from toolchain.measure.care import Care
from toolchain.measure.comparison import Comparison
from toolchain.targets.contract import Alignment

Importance = Mapping[str, npt.NDArray[np.float64]]
"""Group name to a score per unit: what its removal costs."""


@dataclass(frozen=True)
class Limits:
    """What the result must not exceed: latency as a ratio of the original's, and counts where they were asked for."""

    ratio: float
    macs: int | None = None
    parameters: int | None = None

    def hold(self, comparison: Comparison, cost: Cost) -> bool:
        """Tell whether the whole interval of the ratio and all counts lie within."""
        return comparison.high <= self.ratio and self.counts_hold(cost)

    def excess(self, ratio: float, cost: Cost, whole: Cost) -> float:
        """Return by how much what is farthest over its limit is over it, as a share of the original's."""
        counts = ((self.macs, cost.macs, whole.macs), (self.parameters, cost.parameters, whole.parameters))
        over = [(count - limit) / max(total, 1) for limit, count, total in counts if limit is not None]
        return max([ratio - self.ratio, *over])

    def counts_hold(self, cost: Cost) -> bool:
        """Tell whether what needs no timing lies within."""
        macs = self.macs is None or cost.macs <= self.macs
        return macs and (self.parameters is None or cost.parameters <= self.parameters)


@dataclass(frozen=True, eq=False)
class Trial:
    """A plan that was built into an engine and timed against the original; `met` tells whether the limits hold."""

    plan: Plan
    cost: Cost
    comparison: Comparison
    met: bool


class Divergence(Protocol):
    """How far a network's outputs are from the original's on held-out samples.

    KL divergence in nats for class scores, at a temperature; relative squared error otherwise.
    """

    def __call__(self, plan: Plan, repaired_at: Plan | None = None, *, temperature: float = 1.0) -> float:
        """Return it for the network repaired as cut by `repaired_at`, the rest of `plan` only cut.

        `repaired_at` removes nothing that `plan` does not; by default it is the whole plan.
        """


@dataclass(frozen=True, eq=False)
class Problem:
    """The model's groups, what each unit is worth, the limits, and ways to try a plan.

    What a strategy does not ask for is not made: the latency model is built on first use.
    """

    analysis: Analysis
    model_sha256: str
    importance: Importance
    cost_model: CostModel
    alignment: Alignment
    branches: Mapping[str, tuple[str, ...]]
    """For each group that can have width 0, the groups that go with it, itself first."""
    limits: Limits
    time_plan: Callable[[Plan, Cost, Care, float | None], Comparison]
    """Builds and times a plan; closer where it is on a limit."""
    make_latency: Callable[[], LatencyModel]
    score: Callable[[str, Plan], Importance]
    """Scores units by a criterion in the network as it is after a plan and its repair; units that are gone score -inf.

    Raises UsageError where the criterion does not exist or needs samples that are not there.
    """
    divergence: Divergence | None
    """None without samples."""
    progress: Callable[[str], None]
    generator: np.random.Generator
    criterion: str = "l2"
    """What `importance` was scored by."""
    trials: list[Trial] = field(default_factory=list)
    """Every trial so far, for a search that does not come to its end."""

    @cached_property
    def latency(self) -> LatencyModel:
        """Predicts latencies from layers timed at other widths."""
        return self.make_latency()

    @property
    def ratio(self) -> float:
        """The budget: latency as a ratio of the original's."""
        return self.limits.ratio

    def choices(self, group: Group) -> list[int]:
        """Return the widths below the present one that the target likes, widest first; 0 where the branch can go."""
        widths = aligned_widths(group, self.alignment)
        return [*widths, 0] if group.name in self.branches else widths

    def whole(self, widths: Widths) -> Widths:
        """Return widths with the groups that go with a removed branch."""
        chosen = dict(widths)
        for name, width in widths.items():
            if width == 0:
                chosen.update(dict.fromkeys(self.branches.get(name, ()), 0))
        return chosen

    def plan(self, widths: Widths, importance: Importance | None = None) -> Plan:
        """Remove the least important units of each group; a width of 0 takes the whole branch."""
        scores = importance or self.importance
        removed = {}
        for name, width in self.whole(widths).items():
            order = np.argsort(scores[name], kind="stable")
            removed[name] = order[: len(order) - width].tolist()
        return make_plan(self.analysis, self.model_sha256, removed)

    def stair_macs(self, plan: Plan) -> int:
        """Return a plan's multiply-accumulates in whole blocks of the target's preferred alignment."""
        return self.cost_model.stair_macs(removed_units(self.analysis, plan), self.alignment.preferred)

    def cost(self, plan: Plan) -> Cost:
        """Return what the model costs under a plan."""
        return self.cost_model.of(removed_units(self.analysis, plan))

    def attempt(self, widths: Widths) -> Trial:
        """Cut, build and time the least important units' removal."""
        return self.attempt_plan(self.plan(widths))

    def attempt_plan(self, plan: Plan) -> Trial:
        """Cut, build and time. What may meet the budget is timed again, longer: luck must neither pass nor refuse."""
        cost = self.cost(plan)
        trial = self._trial(plan, cost, Care.QUICK)
        near = trial.comparison.low <= self.limits.ratio and self.limits.counts_hold(cost)
        self.trials.append(self._trial(plan, cost, Care.DECIDING, self.limits.ratio) if near else trial)
        return self.trials[-1]

    def confirmed(self, trial: Trial) -> Trial:
        """Time a plan once more, as it will be reported: of several trials the luckiest seems best."""
        return self._trial(trial.plan, trial.cost, Care.FINAL, self.limits.ratio)

    def tightened(self, ratio: float) -> Problem:
        """Return the same problem with a lower budget of latency; what was timed and learned stays."""
        return replace(self, limits=replace(self.limits, ratio=ratio), make_latency=lambda: self.latency)

    def so_far(self) -> Found:
        """Return what an interrupted search leaves: the slowest trial within the limits, else the fastest."""
        within = slowest_within(self.trials)
        return Found(within or fastest(self.trials), tuple(self.trials), within is not None)

    def _trial(self, plan: Plan, cost: Cost, care: Care, limit: float | None = None) -> Trial:
        comparison = self.time_plan(plan, cost, care, limit)
        return Trial(plan, cost, comparison, self.limits.hold(comparison, cost))

    def loss(self, name: str, width: int) -> float:
        """Return what a group loses at a width: R / (1 - R / k), R the importance that goes, k its consumers.

        Importance is an energy relative to the signal at each consumer, so this is noise over signal: the last
        units of a layer cost far more than the first, which a plain sum would not say. A residual branch that
        carries little of its stream can go as a whole.
        """
        ordered = np.sort(self.importance[name])
        consumers = sum(site.role is Role.CONSUMES for site in self.analysis.by_name[name].sites)
        gone = float(ordered[: len(ordered) - width].sum())
        return gone / max(1.0 - gone / max(consumers, 1.0, float(ordered.sum())), 1e-9)


@dataclass(frozen=True, eq=False)
class Found:
    """The best trial, all trials in order, whether the best meets the budget, and what else the report should say."""

    best: Trial | None
    trials: tuple[Trial, ...]
    met: bool
    notes: tuple[str, ...] = ()


class Strategy(ABC):
    """Chooses the plan for a budget."""

    criterion: ClassVar[str] = "wanda"
    """What scores units where the user names nothing and there are samples."""

    @abstractmethod
    def search(self, problem: Problem) -> Found:
        """Return the best plan found; `met` says whether its measured latency is within the budget."""


def channels_per_unit(group: Group) -> int:
    """Return how many channels of the producing tensor one unit takes (more than one in grouped convolutions)."""
    site = next((site for site in group.sites if site.role is not Role.CONSUMES), group.sites[0])
    return max(1, int(np.count_nonzero(np.isin(site.units, group.units))) // group.width)


def aligned_widths(group: Group, alignment: Alignment) -> list[int]:
    """Return the widths below the present one that the target likes, widest first.

    1. Multiples of the preferred alignment, counted in channels.
    2. Below the preferred alignment itself: multiples of the least acceptable one.
    """
    per_unit = channels_per_unit(group)
    preferred = alignment.preferred // gcd(alignment.preferred, per_unit)
    least = alignment.least // gcd(alignment.least, per_unit)
    wide = range(preferred, group.width, preferred)
    narrow = range(least, min(preferred, group.width), least)
    return sorted({*wide, *narrow}, reverse=True)


def slowest_within(trials: list[Trial]) -> Trial | None:
    """Return the trial within the limits that uses most of the budget."""
    return max((trial for trial in trials if trial.met), key=lambda trial: trial.comparison.ratio, default=None)


def fastest(trials: list[Trial]) -> Trial | None:
    """Return the trial with the lowest ratio."""
    return min(trials, key=lambda trial: trial.comparison.ratio, default=None)
