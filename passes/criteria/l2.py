"""`l2`: the energy of what produces a unit, as a share of its layer's (Li et al. 2017, with squares)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolchain.criterion import Calibration, Criterion, Scores, filters_of, sum_by_unit
from toolchain.graph.analysis import Analysis, Group


@dataclass(frozen=True)
class L2(Criterion):
    """score(u) = sum over producing sites of  ||W_u||^2 / ||W||^2,  W_u the slice that produces unit u.

    Weights alone decide: no data is needed, and nothing is known of what the data makes of them.
    """

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:  # noqa: ARG002
        """Score each group from its weights."""
        return {group.name: _score(analysis, group) for group in analysis.prunable_groups}


def _score(analysis: Analysis, group: Group) -> npt.NDArray[np.float64]:
    total = np.zeros(group.width)
    for site, filters in filters_of(analysis, group):
        energy = np.sum(filters**2, axis=1)
        total += sum_by_unit(group, site, energy) / max(energy.sum(), 1e-30)
    return total
