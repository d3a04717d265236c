"""The mask oracle: a pruned model must equal the original with the removed slices set to zero.

    pruned(x) == masked(x)      masked = the original graph, nodes untouched, where every removed slice is zero on
                                both sides: producing filters, biases, per-channel parameters, consuming columns

It shares no code with surgery: it zeroes what the record says was removed and runs both networks without the
runtime's graph optimisations. Zeroing one KEPT slice as well must break the equality, else the check had no power
(a network whose output ignores these units proves nothing).

Where a statistic over channels lost some of them (a LayerNorm, a mean) the two are not equal by nature. The caller says
so, and the verdict is then how far they are apart, never that they are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolchain.graph.index import GraphIndex
from toolchain.graph.surgery import KeptAxes

Feeds = Mapping[str, npt.NDArray[np.generic]]
Outputs = Mapping[str, npt.NDArray[np.generic]]
Execute = Callable[[onnx.ModelProto, Feeds, bool], Outputs]
"""Runs a model; the flag says whether the runtime may optimise the graph."""

NOISE_MULTIPLE = 20.0
TIGHTEST, WIDEST = 2e-6, 1e-3
POWER_TRIALS = 4

NOT_ZEROED = frozenset({"Div", "Pow", "Mod"})
"""Ops for which a zero constant means infinity; their removed slices are covered by the other side."""


@dataclass(frozen=True)
class Verdict:
    """How far pruned and masked are apart, relative to the largest output, and what that is worth."""

    relative_error: float
    tolerance: float
    power_error: float
    inexact: bool = False

    @property
    def equal(self) -> bool:
        """Tell whether pruned equals masked; what is inexact by nature never does."""
        return not self.inexact and self.relative_error <= self.tolerance

    @property
    def wrong(self) -> bool:
        """Tell whether they differ though they must not, or in a way that no statistic explains."""
        return not np.isfinite(self.relative_error) if self.inexact else not self.equal

    @property
    def powered(self) -> bool:
        """Tell whether a wrong slice would have been noticed."""
        return self.power_error > self.tolerance


def compare_with_masked(
    original: onnx.ModelProto,
    pruned: onnx.ModelProto,
    kept: Mapping[str, KeptAxes],
    feeds: Feeds,
    execute: Execute,
    *,
    inexact: bool = False,
) -> Verdict:
    """Run both and compare; the tolerance is 20 times the masked network's own noise between optimisation levels."""
    masked = masked_model(original, kept)
    expected = execute(masked, feeds, False)
    noise = relative_error(execute(masked, feeds, True), expected)
    tolerance = min(max(NOISE_MULTIPLE * noise, TIGHTEST), WIDEST)
    error = relative_error(execute(pruned, feeds, False), expected)
    power = 0.0
    for trial in range(POWER_TRIALS):
        spoiled = masked_model(original, _one_more_removed(original, kept, trial))
        power = max(power, relative_error(execute(spoiled, feeds, False), expected))
        if power > tolerance:
            break
    return Verdict(error, tolerance, power, inexact)


def masked_model(original: onnx.ModelProto, kept: Mapping[str, KeptAxes]) -> onnx.ModelProto:
    """Return the original with every slice outside `kept` set to zero."""
    result = onnx.ModelProto()
    result.CopyFrom(original)
    spared = _divisors(original)
    for tensor in result.graph.initializer:
        if tensor.name in kept and tensor.name not in spared:
            array = numpy_helper.to_array(tensor).copy()
            for axis, positions in kept[tensor.name].items():
                gone = np.setdiff1d(np.arange(array.shape[axis]), positions)
                np.moveaxis(array, axis, 0)[gone] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return result


def relative_error(found: Outputs, expected: Outputs) -> float:
    """Return the largest difference over all outputs, each relative to its largest value; infinite for other shapes."""
    worst = 0.0
    for name, reference in expected.items():
        value = np.asarray(found[name])
        if value.shape != reference.shape:
            return float("inf")
        if reference.size == 0:
            continue
        scale = max(float(np.max(np.abs(reference.astype(np.float64)))), 1e-30)
        error = float(np.max(np.abs(value.astype(np.float64) - reference.astype(np.float64)))) / scale
        if not np.isfinite(error):
            return float("inf")
        worst = max(worst, error)
    return worst


def _one_more_removed(original: onnx.ModelProto, kept: Mapping[str, KeptAxes], trial: int) -> dict[str, KeptAxes]:
    """Drop one kept position of one parameter, another parameter in each trial; any weight where all slices went."""
    partial = {name: axes for name, axes in kept.items() if all(len(positions) for positions in axes.values())}
    weights = {item.name: {0: np.arange(item.dims[0])} for item in original.graph.initializer if len(item.dims) > 1}
    candidates = partial or {name: axes for name, axes in weights.items() if name not in kept}
    if not candidates:
        return dict(kept)
    name = list(candidates)[trial * max(1, len(candidates) // POWER_TRIALS) % len(candidates)]
    return {**kept, name: {axis: positions[1:] for axis, positions in candidates[name].items()}}


def _divisors(model: onnx.ModelProto) -> set[str]:
    index = GraphIndex(model)
    return {
        name
        for name in index.constants
        if any(index.nodes[use.node_index].op_type in NOT_ZEROED for use in index.uses.get(name, []))
    }
