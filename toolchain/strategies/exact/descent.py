"""A second opinion to the exact choice: the best step after the other, by latency saved per loss added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.contract import Problem
from toolchain.strategies.exact.instance import Candidates
from toolchain.strategies.exact.losses import LEAST, Point
from toolchain.strategies.settle import counts_hold


def descend(
    problem: Problem, candidates: Candidates, losses: Mapping[Point, float], latency: LatencyModel, goal: float
) -> Widths:
    """Narrow one group, or remove one branch, at a time until the table is within the goal or nothing saves anything.

    Losses do not add up as the exact choice takes them to: where this path ends is now and then the better network.
    """
    widths: Widths = {name: choices[0] for name, choices in candidates.items()}
    now = latency.predict(widths)

    def gain(after: Widths) -> float:
        added = sum(losses[point] for point in after.items()) - sum(losses[point] for point in widths.items())
        return (now - latency.predict(after)) / max(added, LEAST)

    while now > goal or not counts_hold(problem, problem.plan(widths)):
        best = max(_steps(problem, candidates, widths), key=gain, default=None)
        if best is None or gain(best) <= 0:
            break
        widths, now = best, latency.predict(best)
    return widths


def _steps(problem: Problem, candidates: Candidates, widths: Widths) -> Iterator[Widths]:
    for name, choices in candidates.items():
        yield from ({**widths, name: width} for width in [width for width in choices if 0 < width < widths[name]][:1])
        if widths[name] and 0 in choices and name in problem.branches:
            yield problem.whole({**widths, name: 0})
