"""Whether a ratio of latencies meets what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.budget import Budget
from toolchain.errors import ExitCode
from toolchain.graph.cost import Cost
from toolchain.measure.comparison import Comparison


@dataclass(frozen=True)
class Judgement:
    """What is said of a compile or a check, and the exit code that says it to a script."""

    outcome: str
    exit_code: ExitCode
    message: str


def judge_ratio(comparison: Comparison, ratio: float, wanted: str) -> Judgement:
    """Hold a comparison against a ratio; `wanted` is how it was asked for, empty where it was not.

    1. The interval did not become narrow and holds the ratio: too noisy to decide.
    2. The ratio was met, or missed.
    """
    reached = f"{100 * comparison.ratio:.1f} % of the original latency"
    reached += f" for a budget of {wanted}" if wanted else ""
    if not comparison.converged and comparison.low <= ratio <= comparison.high:
        return Judgement("too noisy to decide", ExitCode.TOO_NOISY, f"{reached}, but the interval holds the budget")
    if comparison.ratio <= ratio:
        return Judgement("budget met", ExitCode.MET, reached)
    return Judgement("budget missed", ExitCode.BUDGET_MISSED, reached)


def judge_counts(original: Cost, found: Cost, budget: Budget) -> Judgement | None:
    """Hold multiply-accumulates and parameters against the budget; None where it limits neither."""
    shares = (
        ("MACs", found.macs / max(original.macs, 1), budget.macs),
        ("parameters", found.parameters / max(original.parameters, 1), budget.parameters),
    )
    limited = [(name, share, limit) for name, share, limit in shares if limit is not None]
    if not limited:
        return None
    reached = ", ".join(f"{100 * share:.1f} % of the {name} for {100 * limit:g} %" for name, share, limit in limited)
    if all(share <= limit for _, share, limit in limited):
        return Judgement("budget met", ExitCode.MET, reached)
    return Judgement("budget missed", ExitCode.BUDGET_MISSED, reached)
