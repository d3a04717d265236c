"""`bn-scale`: the scale of the BatchNormalization behind a unit (Liu et al. 2017, "network slimming")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.criteria.l2 import L2
from toolchain.criterion import Calibration, Criterion, Scores, sum_by_unit
from toolchain.graph.analysis import Analysis, Group, ParameterSite

SCALE_INPUT = 1


@dataclass(frozen=True)
class BnScale(Criterion):
    """score(u) = sum over BatchNormalizations of  |gamma_u| / sum_v |gamma_v|.

    A group without any is scored by `l2`: fold-batchnorm moves gamma into the weights.
    """

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Score each group from its scales."""
        by_weight = L2().scores(analysis, calibration)
        result = {}
        for group in analysis.prunable_groups:
            shares = [_shares(analysis, group, site) for site in group.sites if _is_scale(analysis, site)]
            result[group.name] = np.sum(shares, axis=0) if shares else by_weight[group.name]
        return result


def _is_scale(analysis: Analysis, site: ParameterSite) -> bool:
    node = analysis.index.nodes[site.node_index]
    return node.op_type == "BatchNormalization" and node.input[SCALE_INPUT] == site.parameter


def _shares(analysis: Analysis, group: Group, site: ParameterSite) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.abs(analysis.index.array(site.parameter).astype(np.float64))
    return sum_by_unit(group, site, values) / max(float(values.sum()), 1e-30)
