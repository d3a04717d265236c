"""How far a network's outputs are from the original's: what a search judges its candidates by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LEAST_VARIANCE = 1e-2
"""What is added to the variances of features, as a share of their geometric mean: one that hardly ever moves would
drown the others in its noise."""
NO_VARIANCE = 1e-12
"""What is none beside the largest."""
FEWEST_VALUES = 8
"""Of a feature, that tell its variance."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What the original says of each of several batches: networks are held against it, features by all of them."""

    batches: Sequence[Mapping[str, Array]]

    def divergence(self, found: Iterable[Mapping[str, Array]], temperature: float = 1.0) -> float:
        """Return the mean over the batches of how far the outputs found there are."""
        pairs = zip(self.batches, found, strict=True)
        return float(np.mean([divergence(*pair, temperature, self._weights) for pair in pairs]))

    @cached_property
    def _weights(self) -> Mapping[str, Array]:
        return feature_weights(self.batches)


def divergence(
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    temperature: float = 1.0,
    weights: Mapping[str, Array] | None = None,
) -> float:
    """Return the mean over the floating-point outputs, and over their samples.

    1. A single output [N, classes] of scores: T^2 KL(p || q) in nats at a temperature T, p = softmax(expected / T) and
       q = softmax(found / T) (Hinton et al. 2015, section 2). With T = 1 a network that is sure of nearly all its
       samples hardly diverges on them, whatever is done to it: a few others make up the mean.
    2. Rows that already are probabilities: the same, of their logarithms.
    3. Any other output: |found - expected|^2 / variance, averaged over its elements; the variance is that of the
       element's feature in `expected`, or what `weights` say, which come from more samples (`feature_weights`).

    What is not finite is infinitely far.
    """
    floats = {name: value for name, value in expected.items() if value.dtype.kind == "f"}
    if not all(np.all(np.isfinite(found[name])) for name in floats):
        return float("inf")
    scores = len(floats) == 1 and all(value.ndim == 2 and value.shape[1] > 1 for value in floats.values())
    pairs = [(value.astype(np.float64), found[name].astype(np.float64)) for name, value in floats.items()]
    if scores:
        values = [_kl(*pair, temperature) for pair in pairs]
    else:
        weights = feature_weights([expected]) if weights is None else weights
        values = [float(np.mean(weights[name] * np.square(b - a))) for name, (a, b) in zip(floats, pairs, strict=True)]
    return float(np.mean(values)) if values else 0.0


def _kl(expected: Array, found: Array, temperature: float) -> float:
    from scipy.special import log_softmax  # loaded where it is used: most commands start without scipy

    if (expected >= 0).all() and np.allclose(expected.sum(axis=1), 1, atol=1e-3):
        expected, found = (np.log(np.maximum(rows, np.finfo(np.float32).tiny)) for rows in (expected, found))
    log_p, log_q = (log_softmax(rows / temperature, axis=1) for rows in (expected, found))
    return temperature**2 * float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))


def feature_weights(outputs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return 1 / variance for each feature of each floating-point output, shaped to multiply it, from all batches.

    Features lie along the axis, behind the first, along which variances differ most: the boxes and scores of a
    detector, of which the boxes' are a thousand times larger, the maps of a segmentation. Where there are too few
    values of each, all of them are one feature.
    """
    names = [name for name, value in outputs[0].items() if value.dtype.kind == "f"] if outputs else []
    return {name: _feature_weight([batch[name] for batch in outputs]) for name in names}


def _feature_weight(batches: Sequence[Array]) -> Array:
    rank = batches[0].ndim
    sums = {axis: np.sum([moments(batch, axis) for batch in batches], axis=0) for axis in range(max(rank, 1))}
    chosen, weight = feature_axis(sums)
    return weight.reshape([-1 if axis == chosen else 1 for axis in range(rank)])


def moments(value: Array, axis: int) -> Array:
    """Return count, sum and sum of squares at each index of an axis; axis 0, of samples, stands for all together."""
    rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1) if axis else value.reshape(1, -1)
    rows = rows.astype(np.float64)
    return np.stack([np.full(len(rows), rows.shape[1]), rows.sum(axis=1), np.einsum("ij,ij->i", rows, rows)])


def feature_axis(sums: Mapping[int, Array]) -> tuple[int, Array]:
    """Return from moments by axis the one that features lie along, and their weights; axis 0 for one feature."""
    known = [axis for axis, (count, *_) in sums.items() if axis and count.min() >= FEWEST_VALUES] or [0]
    variances = {axis: _softened_variance(sums[axis]) for axis in known}
    chosen = max(known, key=lambda axis: _spread(variances[axis]))
    return chosen, 1 / variances[chosen]


def _softened_variance(sums: Array) -> Array:
    count, total, squares = sums
    variance = np.maximum(squares / count - np.square(total / count), 0)
    least = max(NO_VARIANCE * float(variance.max()), np.finfo(np.float64).tiny)
    typical = np.exp(np.log(np.maximum(variance, least)).mean())
    softened: Array = np.maximum(variance + LEAST_VARIANCE * typical, NO_VARIANCE)
    return softened


def _spread(variance: Array) -> float:
    """Return how unequal variances are: the logarithm of their arithmetic over their geometric mean."""
    return float(np.log(variance.mean()) - np.log(variance).mean())
