"""What whole engines teach about the prediction of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

UNEXPLAINED = 0.02
"""How far a whole engine's ratio may be off although each stage's factor is right: noise, and what does not add up."""

EXPECTED_CORRECTION = 0.15
"""How far the prediction of a stage of blocks may be off."""

EXPECTED_OF_REST = 0.5
"""How far that of kernels may be off that are scaled, not timed."""

REST = "rest"
"""How the stages of the rest begin."""

NARROWED = "narrowed"
"""A stage of what is counted in others already: the blocks that are not at their full widths any more."""

EXPECTED_OF_NARROWED = 0.1
"""How far their prediction may be off beyond that of their stages, all of them in one direction."""


@dataclass(frozen=True)
class Observation:
    """Predicted milliseconds of each stage in an engine, and the engine's measured ratio to the original."""

    stages_ms: Mapping[str, float]
    ratio: float


def fit(original_ms: Mapping[str, float], seen: Sequence[Observation]) -> Mapping[str, float]:
    """Return a factor for each stage of the original, and what narrowed blocks have beyond it.

    With T(c; x) = sum_s c_s x_s the factors c minimise, for measured ratios r_k of engines x_k to the original x_0,

        sum_k ( (T(c; x_k) - r_k T(c; x_0)) / (unexplained T(1; x_0)) )^2  +  sum_s ( (c_s - e_s) / expected_s )^2

    e_s is 1, but 0 for narrowed blocks. The first term says nothing about a common factor; the second keeps it near 1,
    and stages that were never narrowed.
    """
    stages = list({**original_ms, NARROWED: 0.0})
    original = np.array([original_ms.get(stage, 0.0) for stage in stages])
    rows = [_residual_row(stages, original, one) for one in seen]
    means, deviations = np.array([_expected(stage) for stage in stages]).T
    matrix = np.vstack([*rows, np.diag(1 / deviations)])
    wanted = np.concatenate([np.zeros(len(rows)), means / deviations])
    factors, *_ = np.linalg.lstsq(matrix, wanted, rcond=None)
    bounded = np.maximum(factors, np.where(means > 0, 0.0, -np.inf))
    return dict(zip(stages, bounded.tolist(), strict=True))


def _expected(stage: str) -> tuple[float, float]:
    """Return a factor before anything was measured, and how far it may be off."""
    if stage == NARROWED:
        return 0.0, EXPECTED_OF_NARROWED
    return 1.0, EXPECTED_OF_REST if stage.startswith(REST) else EXPECTED_CORRECTION


def _residual_row(stages: Sequence[str], original: Vector, one: Observation) -> Vector:
    now = np.array([one.stages_ms.get(stage, 0.0) for stage in stages])
    row: Vector = (now - one.ratio * original) / (UNEXPLAINED * original.sum())
    return row
