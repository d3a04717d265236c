"""`rematch`: give every layer's output channels the mean and variance they had before pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolchain.criterion import Feeds, up_to
from toolchain.graph.facts import infer_facts
from toolchain.graph.index import GraphIndex
from toolchain.graph.layerwise import Batches, run_layerwise, samples_within
from toolchain.pipeline.contract import Cut, Pass, PassContext, PassResult
from toolchain.targets.onnxruntime import ReferenceSession

Vector = npt.NDArray[np.float64]

OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0}


@dataclass(frozen=True)
class Rematch(Pass):
    """Rescale and shift each weighted layer after pruning, from front to back.

    y' = k * y + c  per output channel,  k = std(y0) / std(y),  c = mean(y0) - k * mean(y)
    with y0 the same channel in the network before pruning and y computed from already corrected inputs; folded into
    W' = k * W and b' = k * b + c. This is the recalibration of BatchNormalization statistics (EagleEye, Li et al.
    2020) for networks whose BatchNormalization is folded. It needs samples, forward passes only, no labels.

    `largest_rescale` bounds k and 1/k. The result is kept only if it is closer to the network before pruning than
    the uncorrected one on held-out samples. `memory_bytes` bounds the activations held at a time.
    """

    repairs: ClassVar[bool] = True

    largest_rescale: float = 4.0
    memory_bytes: int = 1 << 30

    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:
        """Measure the targets, walk the pruned network, judge."""
        cut = context.cut
        if cut is None or context.calibration is None:
            missing = "nothing was pruned" if cut is None else "no samples were given"
            return PassResult(model, False, (f"{missing}: there is nothing to match",))
        calibration = context.calibration.calibration_of(cut.source)
        fitting = list(up_to(calibration.batches(), self._sample_limit(model, context)))
        held_out = list(calibration.held_out())
        names = [node.output[0] for node in cut.source.graph.node if node.op_type in OUTPUT_AXIS]
        targets = _statistics(calibration.observe(names), fitting)
        corrected = _Correction(model, cut, targets, self.largest_rescale).apply(fitting)
        before, after = (_error(candidate, cut.source, held_out) for candidate in (model, corrected))
        note = f"output error on held-out samples {before:.3f} -> {after:.3f}"
        return (
            PassResult(corrected, True, (note,), exact=False) if after < before else PassResult(model, False, (note,))
        )

    def _sample_limit(self, model: onnx.ModelProto, context: PassContext) -> int:
        index = GraphIndex(model)
        return samples_within(index, infer_facts(index, context.binding), self.memory_bytes)


@dataclass(frozen=True, eq=False)
class _Moments:
    mean: Vector
    std: Vector


class _Correction:
    """Walks the pruned network and rewrites its weights on the way."""

    def __init__(
        self,
        model: onnx.ModelProto,
        cut: Cut,
        targets: Mapping[str, _Moments],
        largest_rescale: float,
    ) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._parameters = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._uses = GraphIndex(model).uses
        self._cut = cut
        self._targets = targets
        self._largest_rescale = largest_rescale

    def apply(self, batches: Iterable[Feeds]) -> onnx.ModelProto:
        """Return the corrected model."""
        run_layerwise(self._model, list(batches), self._visit)
        return self._model

    def _visit(self, node: onnx.NodeProto, outputs: Batches) -> Batches:
        target = self._targets.get(node.output[0])
        if target is None or not self._correctable(node):
            return outputs
        kept = self._kept_channels(node, len(target.mean))
        now = _moments(outputs)
        if len(kept) != len(now.mean):
            return outputs
        scale, shift = self._affine(now, target, kept)
        self._fold(node, scale, shift)
        shape = [1, -1, *[1] * (outputs[0].ndim - 2)]
        return [
            (value * scale.reshape(shape) + shift.reshape(shape)).astype(value.dtype, copy=False) for value in outputs
        ]

    def _affine(self, now: _Moments, target: _Moments, kept: npt.NDArray[np.int64]) -> tuple[Vector, Vector]:
        alive = (now.std > 1e-6 * max(now.std.max(), 1e-30)) & (target.std[kept] > 0)
        ratio = np.divide(target.std[kept], now.std, out=np.ones_like(now.std), where=alive)
        scale = np.clip(ratio, 1 / self._largest_rescale, self._largest_rescale)
        return scale, target.mean[kept] - scale * now.mean

    def _correctable(self, node: onnx.NodeProto) -> bool:
        """Tell whether the node owns its weight and bias, and its output channels lie along one weight axis."""
        operands = list(node.input[1:3])
        grouped = node.op_type == "ConvTranspose" and any(a.name == "group" and a.i != 1 for a in node.attribute)
        scaled = any(a.name in ("alpha", "beta") and a.f != 1 for a in node.attribute)
        owned = all(name in self._parameters and len(self._uses[name]) == 1 for name in operands)
        return node.op_type in OUTPUT_AXIS and len(operands) == 2 and owned and not grouped and not scaled

    def _kept_channels(self, node: onnx.NodeProto, count: int) -> npt.NDArray[np.int64]:
        return self._cut.kept.get(node.input[1], {}).get(_output_axis(node), np.arange(count))

    def _fold(self, node: onnx.NodeProto, scale: Vector, shift: Vector) -> None:
        weight, bias = (self._parameters[name] for name in node.input[1:3])
        array = numpy_helper.to_array(weight)
        shape = [1] * array.ndim
        shape[_output_axis(node)] = -1
        _store(weight, array * scale.reshape(shape), array.dtype)
        values = numpy_helper.to_array(bias)
        _store(bias, values * scale + shift, values.dtype)


def _output_axis(node: onnx.NodeProto) -> int:
    transposed = any(item.name == "transB" and item.i for item in node.attribute)
    return 1 if node.op_type == "Gemm" and not transposed else OUTPUT_AXIS[node.op_type]


def _store(tensor: onnx.TensorProto, values: npt.NDArray[np.generic], dtype: np.dtype[np.generic]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.astype(dtype)), tensor.name))


def _moments(batches: Batches) -> _Moments:
    return _combined([_sums(value) for value in batches])


def _sums(value: npt.NDArray[np.generic]) -> tuple[int, Vector, Vector]:
    axes = tuple(axis for axis in range(value.ndim) if axis != 1)
    count = value.size // value.shape[1]
    return count, value.sum(axes, dtype=np.float64), np.square(value, dtype=np.float64).sum(axes)


def _combined(parts: list[tuple[int, Vector, Vector]]) -> _Moments:
    count = sum(part[0] for part in parts)
    mean = np.sum([part[1] for part in parts], axis=0) / count
    square = np.sum([part[2] for part in parts], axis=0) / count
    return _Moments(mean, np.sqrt(np.maximum(square - mean**2, 0)))


def _statistics(run: Callable[[Feeds], Feeds], batches: list[Feeds]) -> dict[str, _Moments]:
    """Return mean and standard deviation per channel of every weighted layer's output before pruning."""
    parts: dict[str, list[tuple[int, Vector, Vector]]] = {}
    for feeds in batches:
        for name, value in run(feeds).items():
            parts.setdefault(name, []).append(_sums(value))
    return {name: _combined(items) for name, items in parts.items()}


def _error(candidate: onnx.ModelProto, source: onnx.ModelProto, batches: list[Feeds]) -> float:
    """Return the mean squared error of all outputs relative to their variance, averaged over batches."""
    ours, theirs = ReferenceSession(candidate), ReferenceSession(source)
    errors = []
    for feeds in batches:
        expected, found = theirs.run(feeds), ours.run(feeds)
        errors += [
            float(np.mean(np.square(found[name] - value, dtype=np.float64)) / max(float(np.var(value)), 1e-30))
            for name, value in expected.items()
            if value.dtype.kind == "f"
        ]
    return float(np.mean(errors)) if errors else 0.0
