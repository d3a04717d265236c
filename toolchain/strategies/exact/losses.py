"""What a group loses at a width: predicted from importance, scaled by divergences that were measured.

    loss(g, w) = p(g, w) * exp(a + b log p(g, w) + c [w = 0] + s_g(log p(g, w))),     p from `Problem.loss`

never falling as a group gets narrower. a, b and c fit log(measured / predicted) of all groups: repair makes up for
little that goes much better than for a lot, and for a whole branch differently. s_g interpolates what the group's own
measurements say beyond that, constant beyond them, 0 without any. Groups that can only go together are one branch: the
first of them carries what it loses, the least that any of them predicts; the others lose nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from toolchain.strategies.contract import Importance, Problem
from toolchain.strategies.exact.instance import Candidates

Vector = npt.NDArray[np.float64]

LEAST, MOST = 1e-9, 1e6
"""Losses outside are as good as none, or as all."""

RIDGE = 1.0
"""Penalty on b and c, in units of one measurement."""

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
        trend = self._trend()
        return {
            (name, width): loss
            for name, widths in self.candidates.items()
            for width, loss in zip(widths, self._curve(name, trend), strict=True)
        }

    def _curve(self, name: str, trend: Vector) -> list[float]:
        points = [(name, width) for width in self.candidates[name]]
        predicted = np.array([self.predicted[point] for point in points])
        corrections = self._features(points) @ trend + self._own(name, trend, np.log(np.maximum(predicted, LEAST)))
        scaled = np.where(predicted > 0, predicted * np.exp(corrections), 0.0)
        losses = np.maximum.accumulate(scaled)
        follows = [width == 0 and self.predicted[name, 0] == 0 for _, width in points]
        return [0.0 if free else float(loss) for free, loss in zip(follows, losses, strict=True)]

    def _own(self, name: str, trend: Vector, logs: Vector) -> Vector:
        """Return what a group's own measurements say beyond the trend, between and beyond them."""
        points = sorted((item for item in self.measured if item[0] == name), key=lambda item: self.predicted[item])
        if not points:
            return np.zeros(len(logs))
        known = np.log([max(self.predicted[item], LEAST) for item in points])
        beyond = self._corrections(points) - self._features(points) @ trend
        own: Vector = np.interp(logs, known, beyond)
        return own

    def _trend(self) -> Vector:
        """Fit all measurements: ridge regression, so that few of them say no more than their mean."""
        points = list(self.measured)
        if not points:
            return np.zeros(3)
        features = self._features(points)
        penalty = np.diag([0.0, RIDGE, RIDGE])
        found = np.linalg.solve(features.T @ features + penalty, features.T @ self._corrections(points))
        return found.astype(np.float64)

    def _features(self, points: Sequence[Point]) -> Vector:
        """Return 1, the logarithm of the prediction, and whether the group is gone."""
        logs = np.log([max(self.predicted[point], LEAST) for point in points])
        features: Vector = np.stack([np.ones(len(points)), logs, [float(width == 0) for _, width in points]], axis=1)
        return features

    def _corrections(self, points: Sequence[Point]) -> Vector:
        ratios = [self.measured[point] / max(self.predicted[point], LEAST) for point in points]
        return np.asarray(np.log(ratios), np.float64)


def twins(problem: Problem, name: str) -> tuple[str, ...]:
    """Return the groups whose branch goes if and only if this one's does, in the network's order; none if it cannot."""
    return tuple(
        group.name
        for group in problem.analysis.prunable_groups
        if group.name in problem.branches.get(name, ()) and name in problem.branches.get(group.name, ())
    )
