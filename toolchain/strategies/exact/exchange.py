"""What is left of a budget: one step back, or one step back paid for by a step down elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.exact.instance import Candidates
from toolchain.strategies.exact.losses import Point


@dataclass(frozen=True)
class Change:
    """Widths near others: the latency they cost more, as a ratio of the original's, and the loss they win back."""

    widths: Widths
    cost: float
    gain: float


def changes(
    candidates: Candidates, losses: Mapping[Point, float], latency: LatencyModel, widths: Widths, spare: float
) -> list[Change]:
    """Return all changes predicted to cost some of `spare` and no more, those first that win back most."""
    now, loss = latency.predict(widths), sum(losses[point] for point in widths.items())
    found = []
    for after in _neighbours(candidates, widths):
        cost = latency.predict(after) - now
        if 0 < cost <= spare:
            found.append(Change(after, cost, loss - sum(losses[point] for point in after.items())))
    return sorted(found, key=lambda change: -change.gain)


def _neighbours(candidates: Candidates, widths: Widths) -> Iterator[Widths]:
    """Yield every group that is still there one candidate wider; so too with another one a candidate narrower."""
    there = [name for name in candidates if widths[name] > 0]
    wider = {name: [width for width in candidates[name] if width > widths[name]] for name in there}
    narrower = {name: [width for width in candidates[name] if 0 < width < widths[name]] for name in there}
    for name in there:
        if wider[name]:
            step = {**widths, name: min(wider[name])}
            yield step
            yield from ({**step, other: max(narrower[other])} for other in there if other != name and narrower[other])
