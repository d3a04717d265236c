"""Backward elimination of units by Optimal Brain Surgeon errors: the order for every width at once.

A consumer computes y = W' x with covariance G = Cov(x) + ridge. Removing the columns b of a unit, with all other
weights refitted, adds to E|y - W' x|^2 (Hassibi and Stork 1993, equation 5, for blocks; Frantar and Alistarh 2022)

    error(b) = tr(W_b' (H_bb)^-1 W_b)        H = G^-1

after which     W <- W - H_:b (H_bb)^-1 W_b        H <- H - H_:b (H_bb)^-1 H_b:

Units with several consumers add up what they cost each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from toolchain.errors import PrunecError
from toolchain.recovery.moments import Array64

Positions = npt.NDArray[np.int64]

PANEL = 32
"""Units that are told apart exactly before the large matrices are brought up to date."""


@dataclass(frozen=True, eq=False)
class Consumer:
    """What one linear map makes of the units.

    `covariance` (unknowns, unknowns), `weight` (unknowns, outputs), `blocks` (units, columns of a unit); `scale`
    turns its squared error into what is compared and summed.
    """

    covariance: Array64
    weight: Array64
    blocks: Positions
    scale: float


@dataclass(frozen=True, eq=False)
class Elimination:
    """Units in the order they go, and what each removal cost at that moment."""

    order: Positions
    errors: Array64

    def scores(self) -> Array64:
        """Return a score per unit: its error, at least that of every unit that went before it."""
        result = np.empty_like(self.errors)
        result[self.order] = np.maximum.accumulate(self.errors)
        return result


def eliminate(consumers: Sequence[Consumer], ridge: float) -> Elimination:
    """Remove all units one by one, the cheapest first.

    The candidates for a stretch of removals are the `PANEL` cheapest units; inside this panel every removal is exact.
    The stretch ends when half of the panel is gone, or when a unit outside was cheaper at its start than all that
    are left inside. Then the whole matrices are updated by one block of rank (removed units * columns of a unit).
    """
    states = [_State(consumer, ridge) for consumer in consumers]
    left = np.arange(len(consumers[0].blocks))
    order: list[int] = []
    errors: list[float] = []
    while len(left):
        costs = np.sum([state.errors() for state in states], axis=0)
        ranked = np.argsort(costs, kind="stable")
        panel, outside = ranked[:PANEL], ranked[PANEL:]
        bound = float(costs[outside[0]]) if len(outside) else np.inf
        gone, paid = _clear_panel([state.panel(panel) for state in states], bound, whole=not len(outside))
        for state in states:
            state.remove(panel[gone])
        order += left[panel[gone]].tolist()
        errors += paid
        left = np.delete(left, panel[gone])
    return Elimination(np.array(order), np.array(errors))


def _clear_panel(states: Sequence[_State], bound: float, *, whole: bool) -> tuple[list[int], list[float]]:
    """Remove units of a panel one by one; return their positions in it and their errors."""
    left = np.arange(states[0].units)
    most = len(left) if whole else max(1, len(left) // 2)
    gone: list[int] = []
    paid: list[float] = []
    while len(gone) < most:
        costs = np.sum([state.errors() for state in states], axis=0)
        cheapest = int(np.argmin(costs))
        if gone and costs[cheapest] > bound:
            break
        gone.append(int(left[cheapest]))
        paid.append(max(float(costs[cheapest]), 0.0))
        left = np.delete(left, cheapest)
        for state in states:
            state.remove(np.array([cheapest]))
    return gone, paid


class _State:
    """Inverse and weights of one consumer with what is left; columns outside all blocks come last."""

    def __init__(self, consumer: Consumer, ridge: float) -> None:
        blocks = consumer.blocks
        others = np.setdiff1d(np.arange(len(consumer.weight)), blocks)
        order = np.concatenate([blocks.reshape(-1), others])
        self.units, self._size = blocks.shape
        self._scale = consumer.scale
        self._inverse = _inverse(consumer.covariance[np.ix_(order, order)], ridge)
        self._weight = _narrow(consumer.weight)[order]

    def errors(self) -> Array64:
        """Return what the removal of each unit costs."""
        size, count = self._size, self.units * self._size
        weight = self._weight[:count].reshape(self.units, size, -1)
        diagonal = np.arange(count).reshape(self.units, size)
        blocks = self._inverse[diagonal[:, :, None], diagonal[:, None, :]]
        errors: Array64 = self._scale * np.sum(weight * np.linalg.solve(blocks, weight), axis=(1, 2))
        return errors

    def panel(self, chosen: Positions) -> _State:
        """Return the part that tells these units apart: their own rows and columns."""
        columns = self._columns(chosen)
        part = _State.__new__(_State)
        part.units, part._size, part._scale = len(chosen), self._size, self._scale
        part._inverse = self._inverse[np.ix_(columns, columns)]
        part._weight = self._weight[columns]
        return part

    def remove(self, chosen: Positions) -> None:
        """Remove units and refit what is left."""
        gone = self._columns(chosen)
        kept = np.delete(np.arange(len(self._weight)), gone)
        cross = self._inverse[np.ix_(kept, gone)]
        gain = np.linalg.solve(self._inverse[np.ix_(gone, gone)], cross.T)
        self._weight = self._weight[kept] - gain.T @ self._weight[gone]
        self._inverse = self._inverse[np.ix_(kept, kept)]
        self._inverse -= cross @ gain
        self.units -= len(chosen)

    def _columns(self, chosen: Positions) -> Positions:
        columns: Positions = (chosen[:, None] * self._size + np.arange(self._size)).reshape(-1)
        return columns


def _inverse(covariance: Array64, ridge: float) -> Array64:
    """Return (G + ridge * diag(G))^-1; unknowns that never vary get the mean variance, so that it exists."""
    diagonal = np.diagonal(covariance)
    mean = max(float(diagonal.mean()), 1e-30)
    damped = covariance.copy()
    np.fill_diagonal(damped, diagonal * (1 + ridge) + np.where(diagonal < 1e-9 * mean, mean, 1e-9 * mean))
    factor, failed = lapack.dpotrf(damped, lower=1, overwrite_a=1)
    if failed:
        raise PrunecError("the covariance of a layer's inputs is not positive definite", hint="please report this")
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    lower: Array64 = np.tril(inverse)
    return lower + np.tril(lower, -1).T


def _narrow(weight: Array64) -> Array64:
    """Return a weight with the same W W' and no more outputs than unknowns: errors depend on nothing else."""
    unknowns, outputs = weight.shape
    if outputs <= unknowns:
        return weight
    upper: Array64 = np.linalg.qr(weight.T)[1]
    return upper.T
