"""`taylor`: the first-order change of the log-likelihood when a unit goes (after Molchanov et al. 2019, equation 8).

    score(u) = mean over samples n of |g_nu|      g_nu: gradient of the unit's mask, see passes/gradients/likelihood.py

The paper squares the gradient of a whole batch; here each sample counts by itself and the sum over positions and over
coupled layers comes before the absolute value, so that scores do not depend on the batches, and groups compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.criterion import Calibration, Criterion, Scores
from toolchain.graph.analysis import Analysis


@dataclass(frozen=True)
class Taylor(Criterion):
    """First-order change of the log-likelihood, by gradients."""

    needs_data: ClassVar[bool] = True

    seed: int = 0
    """Draws the labels."""

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Score each group by its consumers; a group that no weight reads or makes falls back to l2."""
        if calibration is None:
            raise ValueError("taylor needs calibration data")
        from passes.gradients.likelihood import mean_over_samples

        return mean_over_samples(analysis, calibration, np.random.default_rng(self.seed), np.abs)
