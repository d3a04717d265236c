"""`l1`: the absolute weights of what produces a unit, as a share of its layer's (Li et al. 2017, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.criterion import Calibration, Criterion, Scores, filters_of, sum_by_unit
from toolchain.graph.analysis import Analysis


@dataclass(frozen=True)
class L1(Criterion):
    """score(u) = sum over producing sites of  ||W_u||_1 / ||W||_1,  W_u the slice that produces unit u."""

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:  # noqa: ARG002
        """Score each group from its weights."""
        result = {}
        for group in analysis.prunable_groups:
            total = np.zeros(group.width)
            for site, filters in filters_of(analysis, group):
                values = np.abs(filters).sum(axis=1)
                total += sum_by_unit(group, site, values) / max(values.sum(), 1e-30)
            result[group.name] = total
        return result
