"""What a group loses at a width: predicted from importance, scaled by divergences that were measured.

    loss(g, w) = p(g, w) * exp(s_g(log p(g, w))),     p from `Problem.loss`, never falling as a group gets narrower

s_g interpolates log(measured / predicted) of the group's own measurements, constant beyond them; a group without any
takes the median over all measurements. Groups that can only go together are one branch: the first of them carries
what it loses, the least that any of them predicts; the others lose nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from toolchain.strategies.contract import Importance, Problem
from toolchain.strategies.exact.instance import Candidates

LEAST, MOST = 1e-9, 1e6
"""Losses outside are as good as none, or as all."""

Point = tuple[str, int]
"""A group at a width."""


@dataclass(frozen=True, eq=False)
class Losses:
    """Predicted losses of all candidates, and the measured ones so far."""

    candidates: Candidates
    predicted: Mapping[Point, float]
    measured: Mapping[Point, float] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: Problem, candidates: Candidates, importance: Importance) -> Losses:
        """Predict from importance."""
        scored = replace(problem, importance=importance)
        own = {(name, width): scored.loss(name, width) for name, widths in candidates.items() for width in widths}
        for name, widths in candidates.items():
            if 0 in widths:
                together = twins(problem, name)
                own[name, 0] = min(own[twin, 0] for twin in together) if together[:1] == (name,) else 0.0
        return cls(candidates, {point: float(np.clip(value, 0, MOST)) for point, value in own.items()})

    def with_measured(self, point: Point, divergence: float) -> Losses:
        """Return losses that have seen a divergence."""
        return replace(self, measured={**self.measured, point: float(np.clip(divergence, LEAST, MOST))})

    def table(self) -> Mapping[Point, float]:
        """Return the loss of every candidate."""
        common = float(np.median([self._correction(point) for point in self.measured])) if self.measured else 0.0
        return {
            (name, width): loss
            for name, widths in self.candidates.items()
            for width, loss in zip(widths, self._curve(name, common), strict=True)
        }

    def _curve(self, name: str, common: float) -> list[float]:
        widths = self.candidates[name]
        predicted = np.array([self.predicted[name, width] for width in widths])
        points = sorted((item for item in self.measured if item[0] == name), key=lambda item: self.predicted[item])
        logs = np.log(np.maximum(predicted, LEAST))
        if points:
            known = [np.log(max(self.predicted[item], LEAST)) for item in points]
            corrections = np.interp(logs, known, [self._correction(item) for item in points])
        else:
            corrections = np.full(len(widths), common)
        losses = np.maximum.accumulate(np.where(predicted > 0, np.exp(logs + corrections), 0.0))
        follows = [width == 0 and self.predicted[name, 0] == 0 for width in widths]
        return [0.0 if free else float(loss) for free, loss in zip(follows, losses, strict=True)]

    def _correction(self, point: Point) -> float:
        return float(np.log(self.measured[point] / max(self.predicted[point], LEAST)))


def twins(problem: Problem, name: str) -> tuple[str, ...]:
    """Return the groups whose branch goes if and only if this one's does, in the network's order; none if it cannot."""
    return tuple(
        group.name
        for group in problem.analysis.prunable_groups
        if group.name in problem.branches.get(name, ()) and name in problem.branches.get(group.name, ())
    )
