"""`wanda`: how much of its consumers' output a unit carries on real data (after Sun et al. 2024, equation 1).

    score(u) = sum over consumers of   rho * ||W[:, u]||^2 * E[x_u^2]  /  sum_v ||W[:, v]||^2 * E[x_v^2]

Wanda scores single weights by |W| * ||x||_2; this is its energy summed over the slice of a unit, as a share of
the layer's, so that groups compare. rho is 1 in a chain; where the consumer ends a residual branch it is the branch's
share of the variance of the sum it joins: a branch that adds little matters little, whatever happens inside it.
One forward pass over the calibration samples, no gradients, no labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from passes.criteria.l2 import L2
from toolchain.criterion import Calibration, Criterion, Scores, sum_by_unit
from toolchain.graph.analysis import Analysis, ParameterSite
from toolchain.graph.labels import Role

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Wanda(Criterion):
    """Energy share of a unit in what its consumers compute."""

    needs_data: ClassVar[bool] = True

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Score each group by its consumers; a group without any falls back to its weights."""
        if calibration is None:
            raise ValueError("wanda needs calibration data")
        moments = _second_moments(analysis, calibration)
        by_weight = L2().scores(analysis, None)
        result = {}
        for group in analysis.prunable_groups:
            consumers = [site for site in group.sites if site.role is Role.CONSUMES]
            shares = [sum_by_unit(group, site, _shares(analysis, site, moments)) for site in consumers]
            result[group.name] = np.sum(shares, axis=0) if shares else by_weight[group.name]
        return result


def _consumed(analysis: Analysis, site: ParameterSite) -> str:
    """Return the live operand of the node that consumes the site's units."""
    node = analysis.index.nodes[site.node_index]
    return next(name for name in node.input if name and name not in analysis.index.constants)


def _shares(analysis: Analysis, site: ParameterSite, moments: dict[str, Vector]) -> Vector:
    weight = analysis.index.array(site.parameter).astype(np.float64)
    columns = np.sum(np.moveaxis(weight, site.axis, 0).reshape(weight.shape[site.axis], -1) ** 2, axis=1)
    moment = moments[_consumed(analysis, site)]
    # A grouped convolution's weight spans one group: every group's channels meet the same slice positions.
    energy = columns * moment.reshape(-1, len(columns)).mean(axis=0)
    share: Vector = energy / max(energy.sum(), 1e-30)
    return share


def _second_moments(analysis: Analysis, calibration: Calibration) -> dict[str, Vector]:
    """Return E[x^2] along the labelled axis of every tensor that a prunable unit is consumed from."""
    names = sorted(
        {
            _consumed(analysis, site)
            for group in analysis.prunable_groups
            for site in group.sites
            if site.role is Role.CONSUMES
        }
    )
    if not names:
        return {}
    run = calibration.observe(names)
    sums: dict[str, Vector] = defaultdict(lambda: np.zeros(1))
    batches = 0
    for feeds in calibration.batches():
        batches += 1
        for name, value in run(feeds).items():
            axis = analysis.tensors[name].axis
            others = tuple(a for a in range(value.ndim) if a != axis)
            sums[name] = sums[name] + np.mean(np.square(value, dtype=np.float64), axis=others)
    return {name: total / batches for name, total in sums.items()}
