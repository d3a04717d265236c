"""First and second moments of columns and targets, in float64 from float32 products of short stretches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolchain.recovery.layer import Array

Array64 = npt.NDArray[np.float64]

STRETCH = 2048
"""Positions per product: float32 sums this short keep six digits, and it is twice as fast as float64."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over positions, for every group of a layer (leading axis of all arrays).

    `xx` (groups, unknowns, unknowns) is E[x x'], `xy` (groups, unknowns, outputs) is E[x y'], `yy` is the
    mean of |y|^2 over all groups and outputs.
    """

    count: int
    x: Array64
    y: Array64
    xx: Array64
    xy: Array64
    yy: float

    @property
    def unknowns(self) -> int:
        """The number of unknowns of one output."""
        return int(self.x.shape[1])

    def centred(self) -> Moments:
        """Return the same about the means: covariances, which are what a layer with a free bias sees."""
        return Moments(
            self.count,
            np.zeros_like(self.x),
            np.zeros_like(self.y),
            self.xx - self.x[:, :, None] * self.x[:, None, :],
            self.xy - self.x[:, :, None] * self.y[:, None, :],
            self.yy - float(np.sum(self.y**2)),
        )

    def error(self, weight: Array, bias: Array) -> float:
        """Return E|y - W' x - b|^2, weight (groups, unknowns, outputs), bias (groups, outputs)."""
        quadratic = float(np.sum(weight * (self.xx @ weight - 2 * self.xy)))
        linear = float(np.sum(bias * (bias - 2 * self.y + 2 * (self.x[:, None, :] @ weight)[:, 0])))
        return max(self.yy + quadratic + linear, 0.0)


class MomentSums:
    """Adds up moments, batch by batch."""

    def __init__(self, groups: int, unknowns: int, outputs: int) -> None:
        self.count = 0
        self._x, self._y = np.zeros((groups, unknowns)), np.zeros((groups, outputs))
        self._xx, self._xy = np.zeros((groups, unknowns, unknowns)), np.zeros((groups, unknowns, outputs))
        self._yy = 0.0

    def add(self, columns: Array, targets: Array) -> None:
        """Add columns (groups, positions, unknowns) and targets (groups, positions, outputs)."""
        for start in range(0, columns.shape[1], STRETCH):
            x, y = (value[:, start : start + STRETCH] for value in (columns, targets))
            self.count += x.shape[1]
            self._x += x.sum(1, dtype=np.float64)
            self._y += y.sum(1, dtype=np.float64)
            self._xx += x.swapaxes(1, 2) @ x
            self._xy += x.swapaxes(1, 2) @ y
            self._yy += float(np.sum(np.square(y, dtype=np.float64)))

    def moments(self) -> Moments:
        """Return the means."""
        n = max(self.count, 1)
        return Moments(self.count, self._x / n, self._y / n, self._xx / n, self._xy / n, self._yy / n)
