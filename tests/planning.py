"""A search problem whose latency is a plain function of the plan, for tests of strategies."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
from oracle import RULES, analysed
from small import network, timer_of

from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import Plan
from toolchain.graph.removable import removable_branches
from toolchain.graph.surgery import apply_plan
from toolchain.latency.stair_macs import StairMacs
from toolchain.measure.care import Care
from toolchain.measure.comparison import Comparison
from toolchain.measure.latency import Latency
from toolchain.strategies.contract import Importance, Limits, Problem, Trial
from toolchain.targets.contract import Alignment, Clock
from toolchain.targets.engine import Identity

ALIGNMENT = Alignment(preferred=8, least=4)
NOWHERE = Identity("formula", "paper", "1", "float32")

TWO_BRANCHES = """net (float[1,3,8,8] x) => (float[1,4,8,8] y) <
    float[32,3,3,3] stem_weight, float[32,32,3,3] a1_weight, float[32,32,3,3] a2_weight,
    float[32,32,3,3] b1_weight, float[32,32,3,3] b2_weight, float[4,32,1,1] y_weight
> {
    stem = Conv<pads=[1,1,1,1]>(x, stem_weight)
    a1 = Conv<pads=[1,1,1,1]>(stem, a1_weight)
    a2 = Conv<pads=[1,1,1,1]>(a1, a2_weight)
    first = Add(stem, a2)
    b1 = Conv<pads=[1,1,1,1]>(first, b1_weight)
    b2 = Conv<pads=[1,1,1,1]>(b1, b2_weight)
    second = Add(first, b2)
    y = Conv(second, y_weight)
}"""
"""Two residual branches that cost the same, on one stream."""


def problem_of(
    ratio: float,
    *,
    width: int = 32,
    weight: Mapping[str, float] | None = None,
    sees: Collection[str] = (),
    folder: Path | None = None,
    model: onnx.ModelProto | None = None,
    multiple: int = ALIGNMENT.preferred,
) -> Problem:
    """Return a problem on the small network, or on `model`; `weight` scales the importance of groups.

    Its latency is the share of multiply-accumulates that is left; with `sees`, the share of units left in these
    groups; with `folder`, that of the null target. Its table counts them in blocks of `multiple` channels.
    """
    model = network(width=width) if model is None else model
    analysis = analysed(model)
    cost_model = CostModel(analysis, RULES)
    rng = np.random.default_rng(0)
    importance = {g.name: (weight or {}).get(g.name, 1.0) * rng.uniform(0.5, 1.5, g.width) for g in analysis.groups}
    timer = timer_of(model, folder) if folder else None

    branches = removable_branches(analysis)

    def time_plan(plan: Plan, cost: Cost, *_: Care) -> Comparison:
        if timer:
            return timer.compare(apply_plan(analysis, plan).model)
        kept = plan.widths(analysis)
        seen = sum(kept[name] for name in sees) / (width * len(sees)) if sees else cost.macs / cost_model.total.macs
        return comparison(seen)

    sha256 = model_sha256(analysis.model)

    def score(_: str, plan: Plan) -> Importance:
        """Score as before, whatever the criterion."""
        scores = {name: values.copy() for name, values in importance.items()}
        for removal in plan.removals:
            scores[removal.group][list(removal.positions)] = -np.inf
        return scores

    def divergence(plan: Plan, repaired_at: Plan | None = None, *, temperature: float = 1.0) -> float:
        """Lose what goes: nothing is repaired."""
        del repaired_at, temperature
        gone = (importance[item.group][list(item.positions)].sum() for item in plan.removals)
        return float(sum(gone))

    return Problem(
        analysis,
        sha256,
        importance,
        cost_model,
        ALIGNMENT,
        branches,
        Limits(ratio),
        time_plan,
        lambda: StairMacs(analysis, RULES, multiple, 1.0),
        score,
        divergence,
        print,
        np.random.default_rng(0),
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
