"""Least squares for one layer: the weights that make the pruned network compute what the original did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from toolchain.recovery.moments import Array64, Moments

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths of the pull towards the weights before, relative to the variance of each unknown."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A layer's new weight (groups, unknowns, outputs) and bias (groups, outputs), and how it was judged.

    Errors are E|y - W' x - b|^2 on held-out positions relative to E|y - E y|^2; `ridge` is infinite where the weights
    were kept.
    """

    weight: Array64
    bias: Array64
    ridge: float
    before: float
    after: float

    @property
    def improved(self) -> bool:
        """Tell whether the layer is closer to the original on held-out positions."""
        return self.after < self.before


def fit_layer(fitting: Moments, held_out: Moments, weight: Array64, bias: Array64, *, free_bias: bool) -> Fit:
    """Minimise E|y - W' x - b|^2 + ridge * |diag(G)^(1/2) (W - weight)|^2 for every ridge; keep the best on held-out.

    With dW = W - weight, G = Cov(x) and C = Cov(x, y):   (G + ridge diag(G)) dW = C - G weight,
    b = E y - W' E x. Without a free bias the second moments stand in for the covariances, and b stays.

    Under-sampled layers (fewer positions than unknowns) start from a ridge of 0.01: their G is singular.
    """
    scale = max(held_out.centred().yy, 1e-30)
    best = Fit(weight, bias, np.inf, held_out.error(weight, bias) / scale, held_out.error(weight, bias) / scale)
    moments = fitting.centred() if free_bias else _without(fitting, bias)
    residual = moments.xy - moments.xx @ weight
    for ridge in RIDGES:
        if fitting.count < fitting.unknowns and ridge < 1e-2:
            continue
        change = _solve(moments.xx, residual, ridge)
        if change is None:
            continue
        fitted = weight + change
        shift = fitting.y - (fitting.x[:, None, :] @ fitted)[:, 0] if free_bias else bias
        error = held_out.error(fitted, shift) / scale
        if error < best.after:
            best = Fit(fitted, shift, ridge, best.before, error)
    return best


def _without(moments: Moments, bias: Array64) -> Moments:
    """Return the moments with a fixed bias taken off the targets."""
    xy = moments.xy - moments.x[:, :, None] * bias[:, None, :]
    return Moments(moments.count, moments.x, moments.y - bias, moments.xx, xy, moments.yy)


def _solve(xx: Array64, residual: Array64, ridge: float) -> Array64 | None:
    """Solve (G + ridge diag(G)) dW = R for every group; None where that is not positive definite."""
    diagonal = np.einsum("gkk->gk", xx)
    damping = ridge * diagonal + 1e-9 * diagonal.max() + 1e-30
    change = np.empty_like(residual)
    for group in range(len(xx)):
        damped = xx[group].copy()
        np.fill_diagonal(damped, diagonal[group] + damping[group])
        try:
            change[group] = cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), residual[group])
        except LinAlgError:
            return None
    return change
