"""Widths near those of a measured engine: one step, or one step up paid for by a step down elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.exact.instance import Candidates


def changes(candidates: Candidates, latency: LatencyModel, widths: Widths, spare: float) -> list[Widths]:
    """Return the widths after each change that is predicted to cost `spare`, a ratio of the original's, at most.

    Where `spare` is negative the engine is over the budget: what stays is what saves as much.
    """
    limit = latency.predict(widths) + spare
    near = [*_wider(candidates, widths), *(_narrower(candidates, widths) if spare < 0 else ())]
    return [after for after in near if latency.predict(after) <= limit]


def _wider(candidates: Candidates, widths: Widths) -> Iterator[Widths]:
    """Yield every group that is still there a candidate wider; so too with another one a candidate narrower."""
    for name, choices in candidates.items():
        wider = [width for width in choices if width > widths[name] > 0]
        if wider:
            step = {**widths, name: min(wider)}
            yield step
            yield from (both for both in _narrower(candidates, step) if both[name] == step[name])


def _narrower(candidates: Candidates, widths: Widths) -> Iterator[Widths]:
    """Yield every group that can be a candidate narrower without being gone."""
    for name, choices in candidates.items():
        narrower = [width for width in choices if 0 < width < widths[name]]
        if narrower:
            yield {**widths, name: max(narrower)}
