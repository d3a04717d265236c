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


@dataclass(frozen=True)
class Observation:
    """Predicted milliseconds of each stage in an engine, and the engine's measured ratio to the original."""

    stages_ms: Mapping[str, float]
    ratio: float


def fit(original_ms: Mapping[str, float], seen: Sequence[Observation]) -> Mapping[str, float]:
    """Return a factor for each stage of the original.

    With T(c; x) = sum_s c_s x_s the factors c minimise, for measured ratios r_k of engines x_k to the original x_0,

        sum_k ( (T(c; x_k) - r_k T(c; x_0)) / (unexplained T(1; x_0)) )^2  +  sum_s ( (c_s - 1) / expected_s )^2

    The first term says nothing about a common factor; the second keeps it near 1, and stages that were never narrowed.
    """
    stages = list(original_ms)
    original = np.array([original_ms[stage] for stage in stages])
    rows = [_residual_row(stages, original, one) for one in seen]
    trust = np.array([1 / (EXPECTED_OF_REST if stage.startswith(REST) else EXPECTED_CORRECTION) for stage in stages])
    matrix = np.vstack([*rows, np.diag(trust)])
    wanted = np.concatenate([np.zeros(len(rows)), trust])
    factors, *_ = np.linalg.lstsq(matrix, wanted, rcond=None)
    return dict(zip(stages, np.maximum(factors, 0.0).tolist(), strict=True))


def _residual_row(stages: Sequence[str], original: Vector, one: Observation) -> Vector:
    now = np.array([one.stages_ms.get(stage, 0.0) for stage in stages])
    row: Vector = (now - one.ratio * original) / (UNEXPLAINED * original.sum())
    return row
