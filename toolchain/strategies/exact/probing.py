"""Which losses are worth measuring: each measurement repairs a network and runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.contract import Importance, Problem
from toolchain.strategies.exact.losses import Losses, Point

ChooseWidths = Callable[[Losses], Widths]
"""Returns the widths that are best by these losses."""


def measure_losses(
    problem: Problem, losses: Losses, importance: Importance, choose: ChooseWidths, latency: LatencyModel, probes: int
) -> Losses:
    """Measure up to `probes` divergences, each of one group narrowed alone.

    1. Half of them: one for each group, at the width next to half of the full one; where layers take longest first.
    2. The others: what the best widths by the losses so far rely on without having been measured, the largest first;
       then the choice is made anew.
    """
    if problem.divergence is None:
        return losses

    def measured(losses: Losses, point: Point) -> Losses:
        name, width = point
        problem.progress(f"loss {len(losses.measured) + 1} of at most {probes}: {name} at width {width}")
        assert problem.divergence is not None
        return losses.with_measured(point, problem.divergence(problem.plan({name: width}, importance)))

    for name in _by_latency(latency, losses.candidates)[: probes // 2]:
        point = name, _middle(losses.candidates[name])
        losses = measured(losses, point) if _is_new(losses, point) else losses
    while len(losses.measured) < probes:
        table = losses.table()
        relied_on = [point for point in choose(losses).items() if _is_new(losses, point)]
        if not relied_on:
            break
        losses = measured(losses, max(relied_on, key=lambda point: table[point]))
    return losses


def _is_new(losses: Losses, point: Point) -> bool:
    name, width = point
    return width < losses.candidates[name][0] and losses.predicted[point] > 0 and point not in losses.measured


def _by_latency(latency: LatencyModel, candidates: Mapping[str, tuple[int, ...]]) -> list[str]:
    shares = {name: 0.0 for name, widths in candidates.items() if len(widths) > 1}
    for block in latency.blocks:
        for name in shares.keys() & set(block.groups):
            shares[name] += latency.block_ms(block, {})
    return sorted(shares, key=lambda name: -shares[name])


def _middle(widths: tuple[int, ...]) -> int:
    """Return the width below the full one that is nearest to half of it."""
    return min(widths[1:], key=lambda width: abs(width - widths[0] / 2))
