"""Covariances of what layers read, and variances of tensors, from forward passes over calibration samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.criterion import Calibration, Feeds
from toolchain.graph.analysis import Analysis
from toolchain.recovery.layer import Array, LinearLayer, position_shape
from toolchain.recovery.moments import Array64, MomentSums
from toolchain.recovery.original import draw


@dataclass(frozen=True, eq=False)
class Inputs:
    """Per layer (by its node's output) the covariance (groups, unknowns, unknowns) and how many positions made it.

    `variances` holds, for tensors, the sum over channels of the variance over samples and positions.
    """

    covariances: Mapping[str, Array64]
    counts: Mapping[str, int]
    variances: Mapping[str, float]


def observe_inputs(
    analysis: Analysis,
    layers: Mapping[str, LinearLayer],
    tensors: Sequence[str],
    calibration: Calibration,
    feeds: Sequence[Feeds],
    positions: Mapping[str, int],
    seed: int,
) -> Inputs:
    """Run the model once; each layer is looked at in `positions` random places."""
    sums = {name: _sums(analysis, layer) for name, layer in layers.items()}
    spreads = {name: _Spread() for name in tensors}
    run = calibration.observe(sorted({*tensors, *(layer.input for layer in layers.values())}))
    number = {name: i for i, name in enumerate(sorted(layers))}
    for i, batch in enumerate(feeds):
        values = run(batch)
        for name, spread in spreads.items():
            spread.add(values[name], analysis.tensors[name].axis if name in analysis.tensors else 1)
        for name, layer in layers.items():
            value = values[layer.input]
            shape = _output_shape(analysis, layer, len(value))
            available = prod(position_shape(shape, layer.channel_axis(len(shape))))
            at = draw(-(-positions[name] // len(feeds)), available, (seed, number[name], i))
            columns = layer.columns(value, analysis.facts[layer.weight].shape or (), shape, at)
            sums[name].add(columns, columns[:, :, :0])
    moments = {name: item.moments() for name, item in sums.items()}
    return Inputs(
        {name: item.centred().xx for name, item in moments.items()},
        {name: item.count for name, item in moments.items()},
        {name: spread.variance for name, spread in spreads.items()},
    )


class _Spread:
    """The variance of each channel, summed over channels."""

    def __init__(self) -> None:
        self._parts: list[tuple[Array64, Array64]] = []

    def add(self, value: Array, channel_axis: int) -> None:
        others = tuple(axis for axis in range(value.ndim) if axis != channel_axis)
        mean, square = (np.mean(item, others, dtype=np.float64) for item in (value, np.square(value)))
        self._parts.append((np.asarray(mean), np.asarray(square)))

    @property
    def variance(self) -> float:
        mean, square = (np.mean([part[i] for part in self._parts], axis=0) for i in (0, 1))
        return float(np.sum(square - mean**2))


def _sums(analysis: Analysis, layer: LinearLayer) -> MomentSums:
    return MomentSums(layer.groups, len(layer.column_channels(analysis.facts[layer.weight].shape or ())), 0)


def _output_shape(analysis: Analysis, layer: LinearLayer, batch: int) -> tuple[int, ...]:
    """Return a layer's output shape for a batch of this size."""
    shape = analysis.facts[layer.output].shape or ()
    return (batch, *shape[1:])
