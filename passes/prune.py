"""`prune`: remove the units that a strategy chooses for the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar

import numpy as np
import onnx

from toolchain.budget import Budget
from toolchain.criterion import Calibration, Criterion, Scores
from toolchain.errors import Interrupted, ModelError, UsageError
from toolchain.graph.analysis import Analysis, analyse
from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.coverage import unknown_ops
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import Plan, inexact_reasons
from toolchain.graph.removable import removable_branches
from toolchain.graph.surgery import apply_plan
from toolchain.measure.care import Care
from toolchain.measure.comparison import Comparison
from toolchain.options import make, parse_pairs
from toolchain.pipeline.candidates import Candidates
from toolchain.pipeline.contract import Pass, PassContext, PassResult, Pruning
from toolchain.pipeline.few_samples import FewSamples
from toolchain.registry import by_name
from toolchain.strategies.confirm import confirmed
from toolchain.strategies.contract import Divergence, Found, Limits, Problem, Strategy

AUTO = "auto"

QUANTISED = frozenset({"ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
"""Ops of models that were quantised before they got here."""

_AGAIN = {Care.DECIDING: "longer", Care.FINAL: "once more"}
"""How a plan is timed after its first time."""

REPAIR_SAMPLES = (16, 256)
"""The fewest and the most samples that a candidate is repaired on; the result is repaired on all."""
REPAIR_MACS = 2e10
"""What the samples between these may cost: a large network's candidates are repaired on fewer."""
JUDGING = 4
"""How many samples judge for each that repairs, as far as there are so many."""


@dataclass(frozen=True)
class Prune(Pass):
    """Search a plan for the latency budget on the target, and apply it.

    `criterion=auto` is the strategy's own with data and `l2` without. `strategy_options` are written `a=1;b=2`.
    `allow_inexact` prunes also what only statistics tie (LayerNorm, a mean over channels): the result then deviates
    from the masked original; by how much is measured and reported.
    """

    lossy: ClassVar[bool] = True

    strategy: str = "joint"
    criterion: str = AUTO
    strategy_options: str = ""
    allow_inexact: bool = False

    def __post_init__(self) -> None:
        self._strategy()
        known = by_name("passes.criteria", Criterion)  # type: ignore[type-abstract]
        if self.criterion not in (AUTO, *known):
            raise UsageError(
                f"there is no criterion '{self.criterion}'", hint=f"criteria are {', '.join((AUTO, *known))}"
            )

    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:
        """Analyse, score, search, cut."""
        if context.budget is None:
            raise UsageError("pass prune needs a budget", hint="add --budget 60%")
        strategy = self._strategy()
        analysis = analyse(model, context.rules, binding=context.binding, allow_inexact=self.allow_inexact)
        if not analysis.prunable_groups:
            raise _nothing_prunable(analysis)
        criterion = self._criterion_name(strategy, context)
        problem = _problem(analysis, criterion, context)
        found, interrupted = _search(strategy, problem)
        if found.best is None:
            return PassResult(model, False, (_nothing_found(found),))
        surgery = apply_plan(analysis, found.best.plan)
        pruning = Pruning(
            model,
            found.best.plan,
            surgery.kept,
            found,
            criterion,
            _widths(analysis, found.best.plan),
            _frozen(analysis),
            inexact_reasons(analysis, found.best.plan),
            allow_inexact=self.allow_inexact,
        )
        modified, notes = bool(found.best.plan.removals), _notes(found, criterion)
        return PassResult(surgery.model, modified, notes, pruning, interrupted=interrupted)

    def _strategy(self) -> Strategy:
        known = by_name("toolchain.strategies", Strategy)  # type: ignore[type-abstract]
        if self.strategy not in known:
            raise UsageError(f"there is no strategy '{self.strategy}'", hint=f"strategies are {', '.join(known)}")
        what = f"strategy {self.strategy}"
        return make(known[self.strategy], parse_pairs(self.strategy_options.replace(";", ","), what), what)

    def _criterion_name(self, strategy: Strategy, context: PassContext) -> str:
        if self.criterion != AUTO:
            return self.criterion
        return strategy.criterion if context.calibration is not None else "l2"


def _search(strategy: Strategy, problem: Problem) -> tuple[Found, bool]:
    """Search; where that is interrupted after a first trial, return what there is, and that it was."""
    try:
        return confirmed(strategy, problem), False
    except Interrupted:
        if not problem.trials:
            raise
        return problem.so_far(), True


def _problem(analysis: Analysis, criterion: str, context: PassContext) -> Problem:
    assert context.budget is not None
    candidates = Candidates(analysis, context, _score)
    cost_model = CostModel(analysis, context.rules)
    empty = Plan(model_sha256=model_sha256(analysis.model))
    context.reporter.progress(f"scoring units by {criterion}")
    limits = _limits(context.budget, context.timer.baseline_ms, cost_model.total)
    return Problem(
        analysis,
        empty.model_sha256,
        candidates.score(criterion, empty),
        cost_model,
        context.alignment,
        removable_branches(analysis),
        limits,
        _time_plan(analysis, cost_model, limits, context),
        lambda: context.latency_of(analysis),
        candidates.score,
        _divergence(analysis, cost_model.total.macs, context),
        context.reporter.progress,
        np.random.default_rng(context.seed),
        criterion,
    )


def _divergence(analysis: Analysis, macs: int, context: PassContext) -> Divergence | None:
    """Return what judges candidates, repaired on few samples: a search asks for dozens."""
    if context.calibration is None:
        return None
    samples = int(np.clip(REPAIR_MACS / max(macs, 1), *REPAIR_SAMPLES))
    few = replace(context, calibration=FewSamples(context.calibration, samples, JUDGING * samples))
    return Candidates(analysis, few, _score).divergence


def _limits(budget: Budget, baseline_ms: float, total: Cost) -> Limits:
    return Limits(
        budget.ratio_of(baseline_ms),
        None if budget.macs is None else int(budget.macs * total.macs),
        None if budget.parameters is None else int(budget.parameters * total.parameters),
    )


def _time_plan(
    analysis: Analysis, cost_model: CostModel, limits: Limits, context: PassContext
) -> Callable[[Plan, Cost, Care, float | None], Comparison]:
    total = max(cost_model.total.macs, 1)
    trials = count(1)

    def time_plan(plan: Plan, cost: Cost, care: Care, limit: float | None) -> Comparison:
        comparison = context.timer.compare(apply_plan(analysis, plan).model, care, limit)
        what = f"trial {next(trials)}" if care is Care.QUICK else f"timed {_AGAIN[care]}"
        context.reporter.progress(
            f"{what}: {100 * comparison.ratio:.1f} % of the original latency "
            f"with {cost.macs / total:.0%} of its MACs (budget {100 * limits.ratio:.1f} %)"
        )
        return comparison

    return time_plan


def _score(name: str, analysis: Analysis, calibration: Calibration | None) -> Scores:
    known = by_name("passes.criteria", Criterion)  # type: ignore[type-abstract]
    if name not in known:
        raise UsageError(f"there is no criterion '{name}'", hint=f"criteria are {', '.join(known)}")
    criterion = known[name]()
    if criterion.needs_data and calibration is None:
        raise UsageError(f"criterion {name} needs samples", hint="add --data, or use --criterion l2")
    return criterion.scores(analysis, calibration)


def _widths(analysis: Analysis, plan: Plan) -> tuple[tuple[str, int, int], ...]:
    after = plan.widths(analysis)
    return tuple((group.name, group.width, after[group.name]) for group in analysis.prunable_groups)


def _frozen(analysis: Analysis) -> tuple[tuple[str, int, str], ...]:
    return tuple((group.name, group.width, str(group.reason)) for group in analysis.groups if group.reason)


def _notes(found: Found, criterion: str) -> tuple[str, ...]:
    best = found.best
    removed = best.plan.removed_count if best else 0
    return (
        f"criterion {criterion}",
        f"{len(found.trials)} engines built and timed",
        f"{removed} units removed",
        *found.notes,
    )


def _nothing_found(found: Found) -> str:
    if found.trials:
        return f"{len(found.trials)} engines built and timed, none of them faster than the original"
    return "no width of any group can be narrowed for this target"


def _nothing_prunable(analysis: Analysis) -> ModelError:
    reasons = sorted({str(group.reason) for group in analysis.groups if group.reason})
    unknown, hint = unknown_ops(analysis), "`prunec inspect` lists every group with its reason"
    if not reasons and unknown:
        reasons = [f"no rule knows its {', '.join(unknown[:3])}"]
    if QUANTISED.intersection(unknown):
        hint = "it is quantised: prune the floating-point model, then quantise the result"
    return ModelError(
        f"nothing in this model can be pruned ({'; '.join(reasons[:2]) or 'it has no weighted layers'})", hint=hint
    )
