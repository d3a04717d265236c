"""`fisher`: the second-order change of the output's distribution when a unit goes (Liu et al. 2021, equation 4).

    score(u) = 1/2 mean over samples n of (g_nu)^2  ~  KL(p || p without u)

g_nu is the gradient of the unit's mask, see passes/gradients/likelihood.py: coupled layers are added up before
squaring. The labels are drawn from the network's output: the Fisher information itself, not its empirical kin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from toolchain.criterion import Calibration, Criterion, Scores
from toolchain.graph.analysis import Analysis

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fisher(Criterion):
    """Second-order change of the output's distribution, by gradients."""

    needs_data: ClassVar[bool] = True

    seed: int = 0
    """Draws the labels."""

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Score each group by its consumers; a group that no weight reads or makes falls back to l2."""
        if calibration is None:
            raise ValueError("fisher needs calibration data")
        from passes.gradients.likelihood import mean_over_samples

        return mean_over_samples(analysis, calibration, np.random.default_rng(self.seed), _half_square)


def _half_square(gradients: Matrix) -> Matrix:
    return 0.5 * gradients**2
