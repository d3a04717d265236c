"""Propose by the table, build and time, correct the table, propose again: what strategies with a table share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from toolchain.graph.analysis import Group
from toolchain.graph.plan import Plan
from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.contract import Found, Problem, Trial, fastest, slowest_within

Propose = Callable[[LatencyModel, float], Plan]
"""Given a table and a ratio, returns a plan predicted to be within, or the fastest plan that it knows."""

TIGHTER = 0.97
"""What the goal is multiplied by where a corrected table still proposes what has missed the budget."""


@dataclass(frozen=True)
class Prediction:
    """What a table said of a plan before it was built, and what was measured: ratios to the original."""

    predicted: float
    measured: float


def settle(problem: Problem, propose: Propose, *, max_trials: int, tolerance: float) -> Found:
    """Find a proposal whose measured latency is within the budget, but less than `tolerance` (a ratio) under it.

    The goal is the ratio that the corrected table gives to the last trial, plus what its measured interval leaves of
    the budget or is over it, less what a new proposal is expected to be slower than predicted (`expected_error`). The
    end is a good trial, one known already, or nothing faster to propose.
    """
    latency, goal = problem.latency, problem.ratio
    trials: dict[Plan, Trial] = {}
    predictions: list[Prediction] = []
    while len(trials) < max_trials and (plan := propose(latency, goal)).removals:
        widths = plan.widths(problem.analysis)
        predicted = latency.predict(widths)
        if plan in trials:
            if predicted > goal or any(trial.met for trial in trials.values()):
                break
            goal *= TIGHTER
            continue
        trial = trials[plan] = problem.attempt_plan(plan)
        spare = problem.ratio - trial.comparison.high
        predictions.append(Prediction(predicted, trial.comparison.ratio))
        if trial.met and spare <= tolerance:
            break
        latency = latency.corrected(widths, trial.comparison.ratio)
        goal = latency.predict(widths) + spare - expected_error(predictions)
    best = best_of(trials.values())
    return Found(best, tuple(trials.values()), bool(best and best.met), _notes(latency, predictions))


def expected_error(predictions: Sequence[Prediction]) -> float:
    """Return how much slower than predicted the next proposal will be: the mean so far, drawn to 0 as by one more of 0.

    A table that has seen an engine is right about it, not about the next one: what is proposed is what it takes for
    fast, so its errors have a sign.
    """
    return sum(one.measured - one.predicted for one in predictions) / (len(predictions) + 1)


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the slowest within the budget, else the fastest; None where nothing is faster than the original."""
    known = list(trials)
    return slowest_within(known) or fastest([trial for trial in known if trial.comparison.ratio < 1])


def counts_hold(problem: Problem, plan: Plan) -> bool:
    """Tell whether a plan keeps the limits that need no timing: multiply-accumulates and parameters."""
    limits = problem.limits
    if limits.macs is None and limits.parameters is None:
        return True
    return limits.counts_hold(problem.cost(plan))


def touched_ms(latency: LatencyModel, group: str, widths: Widths) -> float:
    """Return what all layers take that write or read a group's units, every group at its width."""
    return sum(latency.block_ms(block, widths) for block in latency.blocks if group in block.groups)


def edges(latency: LatencyModel, group: Group) -> tuple[int, ...]:
    """Return the steps of a group and its full width, narrowest first."""
    return (*sorted(latency.steps(group.name)), group.width)


def listed(predictions: Sequence[Prediction]) -> str:
    """Write predictions beside what was measured, in percent."""
    return ", ".join(f"{100 * one.predicted:.1f}/{100 * one.measured:.1f}" for one in predictions)


def _notes(latency: LatencyModel, predictions: Sequence[Prediction]) -> tuple[str, ...]:
    notes = (f"predicted/measured latency, % of the original: {listed(predictions)}",) if predictions else ()
    if latency.timings or latency.shared:
        notes = (*notes, f"{latency.timings} layer latencies timed, {latency.shared} shared")
    return notes
