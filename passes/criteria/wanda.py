"""`wanda`: how much of its consumers' output a unit carries on real data (after Sun et al. 2024, equation 1).

    score(u) = sum over consumers of   rho * ||W[:, u]||^2 * E[x_u^2]  /  sum_v ||W[:, v]||^2 * E[x_v^2]

Wanda scores single weights by |W| * ||x||_2; this is its energy summed over the slice of a unit, as a share of
the layer's, so that groups compare. rho is 1 in a chain; where the consumer ends a residual branch it is the branch's
share of the variance of the sum it joins: a branch that adds little matters little, whatever happens inside it.
One forward pass over the calibration samples, no gradients, no labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from passes.criteria.l2 import L2
from passes.residual import Join, join
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
        consumers = _consumers(analysis)
        statistics = _statistics(analysis, consumers, calibration)
        by_weight = L2().scores(analysis, None)
        result = {}
        for group in analysis.prunable_groups:
            shares = [
                consumer.weight(statistics) * sum_by_unit(group, site, _shares(analysis, consumer, statistics))
                for site in group.sites
                if (consumer := consumers.get((site.node_index, site.parameter))) and site.role is Role.CONSUMES
            ]
            result[group.name] = np.sum(shares, axis=0) if shares else by_weight[group.name]
        return result


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and second moment per channel."""

    mean: Vector
    square: Vector

    @property
    def variance(self) -> float:
        return float(np.sum(self.square - self.mean**2))


Statistics = Mapping[str, _Moments]


@dataclass(frozen=True)
class _Consumer:
    """A layer that reads units: its site and live operand, and where its output joins a sum, if it ends a branch."""

    site: ParameterSite
    operand: str
    join: Join | None

    @property
    def tensors(self) -> tuple[str, ...]:
        """What has to be observed."""
        return (self.operand, self.join.branch, self.join.joined) if self.join else (self.operand,)

    def weight(self, statistics: Statistics) -> float:
        """Return rho."""
        if self.join is None:
            return 1.0
        joined = statistics[self.join.joined].variance
        return min(1.0, statistics[self.join.branch].variance / max(joined, 1e-30))


def _consumers(analysis: Analysis) -> dict[tuple[int, str], _Consumer]:
    found = {}
    for group in analysis.prunable_groups:
        for site in group.sites:
            if site.role is Role.CONSUMES:
                node = analysis.index.nodes[site.node_index]
                operand = next(name for name in node.input if name and name not in analysis.index.constants)
                found[site.node_index, site.parameter] = _Consumer(site, operand, join(analysis.index, node.output[0]))
    return found


def _shares(analysis: Analysis, consumer: _Consumer, statistics: Statistics) -> Vector:
    site = consumer.site
    weight = analysis.index.array(site.parameter).astype(np.float64)
    columns = np.sum(np.moveaxis(weight, site.axis, 0).reshape(weight.shape[site.axis], -1) ** 2, axis=1)
    # A grouped convolution's weight spans one group: every group's channels meet the same slice positions.
    energy = columns * statistics[consumer.operand].square.reshape(-1, len(columns)).mean(axis=0)
    share: Vector = energy / max(energy.sum(), 1e-30)
    return share


def _statistics(
    analysis: Analysis, consumers: Mapping[tuple[int, str], _Consumer], calibration: Calibration
) -> Statistics:
    """Observe every operand, branch end and sum over the calibration samples."""
    names = {name for item in consumers.values() for name in item.tensors}
    if not names:
        return {}
    run = calibration.observe(sorted(names))
    sums: dict[str, tuple[Vector, Vector]] = {}
    batches = 0
    for feeds in calibration.batches():
        batches += 1
        for name, value in run(feeds).items():
            axis = analysis.tensors[name].axis if name in analysis.tensors else 1
            others = tuple(a for a in range(value.ndim) if a != axis)
            mean, square = np.mean(value, others, dtype=np.float64), np.mean(np.square(value, dtype=np.float64), others)
            before = sums.get(name, (np.zeros_like(mean), np.zeros_like(square)))
            sums[name] = (before[0] + mean, before[1] + square)
    return {name: _Moments(mean / batches, square / batches) for name, (mean, square) in sums.items()}
