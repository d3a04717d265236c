"""A search problem whose latency is a plain function of the plan, for tests of strategies."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from oracle import RULES, analysed
from small import network, timer_of

from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import Plan
from toolchain.graph.removable import removable_branches
from toolchain.graph.surgery import apply_plan
from toolchain.measure.comparison import Comparison
from toolchain.measure.latency import Latency
from toolchain.strategies.contract import Problem, Trial
from toolchain.targets.contract import Alignment, Clock
from toolchain.targets.engine import Identity

ALIGNMENT = Alignment(preferred=8, least=4)
NOWHERE = Identity("formula", "paper", "1", "float32")


def problem_of(
    ratio: float,
    *,
    width: int = 32,
    weight: Mapping[str, float] | None = None,
    sees: Collection[str] = (),
    folder: Path | None = None,
) -> Problem:
    """Return a problem on the small network; `weight` scales the importance of groups.

    Its latency is the share of multiply-accumulates that is left; with `sees`, the share of units left in these
    groups; with `folder`, that of the null target.
    """
    model = network(width=width)
    analysis = analysed(model)
    cost_model = CostModel(analysis, RULES)
    rng = np.random.default_rng(0)
    importance = {g.name: (weight or {}).get(g.name, 1.0) * rng.uniform(0.5, 1.5, g.width) for g in analysis.groups}
    timer = timer_of(model, folder) if folder else None

    branches = removable_branches(analysis)

    def time_plan(plan: Plan, cost: Cost, *_: bool) -> Comparison:
        if timer:
            return timer.compare(apply_plan(analysis, plan).model)
        kept = plan.widths(analysis)
        seen = sum(kept[name] for name in sees) / (width * len(sees)) if sees else cost.macs / cost_model.total.macs
        return comparison(seen)

    return Problem(
        analysis, model_sha256(analysis.model), importance, cost_model, ALIGNMENT, branches, ratio, time_plan
    )


def widths_of(problem: Problem, trial: Trial) -> dict[str, int]:
    """Return the widths of the groups that can be pruned."""
    widths = trial.plan.widths(problem.analysis)
    return {group.name: widths[group.name] for group in problem.analysis.prunable_groups}


def comparison(ratio: float, *, spread: float = 0.0) -> Comparison:
    """Return a comparison as a formula would make it, its interval `spread` to either side."""
    baseline, candidate = (
        Latency((value,), value, value, Clock.MODELLED, 0, 0.0, 1, NOWHERE) for value in (1.0, ratio)
    )
    return Comparison(baseline, candidate, (ratio,), ratio, ratio - spread, ratio + spread, True)
