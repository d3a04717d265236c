"""Widths near those of a measured engine: a step up or more, or a step up paid for by a step down elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from toolchain.latency.contract import LatencyModel, Widths
from toolchain.strategies.exact.instance import Candidates


def changes(candidates: Candidates, latency: LatencyModel, widths: Widths, spare: float) -> list[Widths]:
    """Return the widths after each change that is predicted to cost `spare`, a ratio of the original's, at most.

    Where `spare` is negative the engine is over the budget: what stays is what saves as much.
    """
    limit = latency.predict(widths) + spare
    steps = list(_wider(candidates, widths))
    pairs = (both for step in steps for both in _narrower(candidates, step) if not _undoes(both, widths))
    near = [*steps, *pairs, *(_narrower(candidates, widths) if spare < 0 else ())]
    return [after for after in near if latency.predict(after) <= limit]


def widenings(
    candidates: Candidates, latency: LatencyModel, widths: Widths, spare: float, loss: Callable[[Widths], float]
) -> list[Widths]:
    """Return all steps up that fit one after the other, then each alone: what costs `spare` at most, least loss first.

    Where judging says that no exchange is better, what is left may still be spent.
    """
    limit = latency.predict(widths) + spare

    def fitting(now: Widths) -> list[Widths]:
        return sorted((after for after in _wider(candidates, now) if latency.predict(after) <= limit), key=loss)

    steps = fitting(widths)
    filled = widths
    while further := fitting(filled):
        filled = further[0]
    return [filled, *steps] if steps else []


def _undoes(after: Widths, widths: Widths) -> bool:
    return all(after[name] <= width for name, width in widths.items())


def _wider(candidates: Candidates, widths: Widths) -> Iterator[Widths]:
    """Yield every group that is still there a candidate wider."""
    for name, choices in candidates.items():
        wider = [width for width in choices if width > widths[name] > 0]
        if wider:
            yield {**widths, name: min(wider)}


def _narrower(candidates: Candidates, widths: Widths) -> Iterator[Widths]:
    """Yield every group that can be a candidate narrower without being gone."""
    for name, choices in candidates.items():
        narrower = [width for width in choices if 0 < width < widths[name]]
        if narrower:
            yield {**widths, name: max(narrower)}
