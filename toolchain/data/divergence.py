"""How far a network's outputs are from the original's: what a search judges its candidates by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def divergence(expected: Mapping[str, Array], found: Mapping[str, Array], temperature: float = 1.0) -> float:
    """Return the mean over the floating-point outputs, and over their samples.

    1. A single output [N, classes] of scores: T^2 KL(p || q) in nats at a temperature T, p = softmax(expected / T) and
       q = softmax(found / T) (Hinton et al. 2015, section 2). With T = 1 a network that is sure of nearly all its
       samples hardly diverges on them, whatever is done to it: a few others make up the mean.
    2. Rows that already are probabilities: the same, of their logarithms.
    3. Any other output: |found - expected|^2 / variance of expected, averaged over its elements.

    What is not finite is infinitely far.
    """
    floats = {name: value for name, value in expected.items() if value.dtype.kind == "f"}
    if not all(np.all(np.isfinite(found[name])) for name in floats):
        return float("inf")
    scores = len(floats) == 1 and all(value.ndim == 2 and value.shape[1] > 1 for value in floats.values())
    pairs = [(value.astype(np.float64), found[name].astype(np.float64)) for name, value in floats.items()]
    values = [_kl(*pair, temperature) if scores else _squared_error(*pair) for pair in pairs]
    return float(np.mean(values)) if values else 0.0


def _kl(expected: Array, found: Array, temperature: float) -> float:
    from scipy.special import log_softmax  # loaded where it is used: most commands start without scipy

    if (expected >= 0).all() and np.allclose(expected.sum(axis=1), 1, atol=1e-3):
        expected, found = (np.log(np.maximum(rows, np.finfo(np.float32).tiny)) for rows in (expected, found))
    log_p, log_q = (log_softmax(rows / temperature, axis=1) for rows in (expected, found))
    return temperature**2 * float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))


def _squared_error(expected: Array, found: Array) -> float:
    return float(np.mean(np.square(found - expected)) / max(float(np.var(expected)), 1e-30))
