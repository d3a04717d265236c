"""`fpgm`: how far a filter is from all others of its layer (He et al. 2019, equation 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from toolchain.criterion import Calibration, Criterion, Scores, filters_of, sum_by_unit
from toolchain.graph.analysis import Analysis


@dataclass(frozen=True)
class Fpgm(Criterion):
    """score(u) = sum over producing sites of  d_u / sum_v d_v,   d_u = sum_j |W_u - W_j|_2.

    What is close to the geometric median of its layer can be stood in for by what is left.
    """

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:  # noqa: ARG002
        """Score each group from its weights."""
        result = {}
        for group in analysis.prunable_groups:
            total = np.zeros(group.width)
            for site, filters in filters_of(analysis, group):
                values = cdist(filters, filters).sum(axis=1)
                total += sum_by_unit(group, site, values) / max(values.sum(), 1e-30)
            result[group.name] = total
        return result
