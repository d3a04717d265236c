"""`compensate`: refit every layer after pruning so that the network computes what it did, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain.graph.analysis import analyse
from toolchain.graph.hashing import model_sha256
from toolchain.graph.index import GraphIndex
from toolchain.graph.layerwise import Batches, run_between
from toolchain.graph.normalise import copy_model
from toolchain.graph.plan import removed_units
from toolchain.pipeline.contract import CalibrationSource, Cut, Pass, PassContext, PassResult
from toolchain.recovery.fit import Fit, fit_layer
from toolchain.recovery.layer import Array, LinearLayer, by_group, linear_layers, rows_of
from toolchain.recovery.moments import Moments, MomentSums
from toolchain.recovery.original import Original, Sampling, Target, observe_original
from toolchain.recovery.threads import algebra_threads
from toolchain.registry import scan
from toolchain.targets.onnxruntime import ReferenceSession

LINEAR = "passes.linear"


@dataclass(frozen=True)
class Compensate(Pass):
    """Solve a ridge regression for each weighted layer, from front to back, by forward passes alone.

    W', b' = argmin  E|y0 - W' x' - b'|^2 + ridge * |diag(Cov x')^(1/2) (W' - W)|^2

    with x' the layer's columns in the pruned network repaired so far, W the sliced weights and y0 what the network
    before pruning computed there; where the layer ends a residual branch, y0 is the sum it joins less the pruned
    network's shortcut, so that errors of the stream are made up for as well. The ridge is the one with the least
    error on held-out samples; a layer that no ridge improves there keeps its weights.

    The second moments are those of Optimal Brain Compression (Frantar and Alistarh 2022) and ThiNet's (Luo et al.
    2017) linear regression, extended to all layers in sequence. No labels, no gradients.

    At most `samples` samples are run, a quarter of them to judge, and each layer is fitted on `positions_per_unknown`
    random output positions for each unknown, fewer where there are fewer samples; `memory_bytes` bounds the activations
    and targets held at a time, beside the largest layer's moments. The result is kept only if the outputs diverge less
    from the original's on held-out samples.
    """

    repairs: ClassVar[bool] = True

    samples: int = 1024
    positions_per_unknown: int = 64
    memory_bytes: int = 2 << 30

    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:
        """Observe the original once, walk the pruned network, judge."""
        cut = context.cut
        if cut is None or context.calibration is None:
            missing = "nothing was pruned" if cut is None else "no samples were given"
            return PassResult(model, False, (f"{missing}: there is nothing to compensate",))
        original = self._originals.of(cut, context, self)
        walk = _Walk(model, cut, original)
        with algebra_threads(walk.largest_unknowns):
            outputs = run_between(walk.model, original.batches, walk.stops, walk.prepare)
        session = ReferenceSession(model, optimise=True)
        before = original.expected.divergence(map(session.run, original.held_out))
        held_out = range(original.fitting, len(original.batches))
        after = original.expected.divergence({name: values[i] for name, values in outputs.items()} for i in held_out)
        notes = (f"output divergence on held-out samples {before:.4f} -> {after:.4f}", *walk.notes())
        if not after < before:
            return PassResult(model, False, notes)
        return PassResult(walk.model, True, notes, exact=False)

    @cached_property
    def _originals(self) -> _LastOriginal:
        return _LastOriginal()


class _LastOriginal:
    """What was observed of the last original: the same for all candidates of a search."""

    def __init__(self) -> None:
        self._key: tuple[str, CalibrationSource, int] | None = None
        self._original: Original | None = None

    def of(self, cut: Cut, context: PassContext, options: Compensate) -> Original:
        """Observe, unless that was done before."""
        assert context.calibration is not None
        key = (model_sha256(cut.source), context.calibration, context.seed)
        if self._original is None or key != self._key:
            self._original = None  # two of them need not fit into memory
            context.reporter.progress("observing the original's layers")
            analysis = analyse(cut.source, context.rules, binding=context.binding, allow_inexact=cut.allow_inexact)
            sampling = Sampling(options.samples, options.positions_per_unknown, options.memory_bytes, context.seed)
            kinds = scan(LINEAR, LinearLayer)  # type: ignore[type-abstract]
            calibration = context.calibration.calibration_of(cut.source)
            self._original, self._key = observe_original(analysis, kinds, calibration, sampling), key
        return self._original


class _Walk:
    """Refits the layers of a pruned network, each before it runs for the first time."""

    def __init__(self, model: onnx.ModelProto, cut: Cut, original: Original) -> None:
        self.model = copy_model(model)
        index = GraphIndex(self.model)
        kinds = scan(LINEAR, LinearLayer)  # type: ignore[type-abstract]
        self._layers = {index.nodes[i].output[0]: layer for i, layer in linear_layers(index, kinds).items()}
        self._uses = index.uses
        self._parameters = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._original = original
        self._removed = removed_units(original.analysis, cut.plan)
        changed = _changed(index, self._layers, original)
        self.stops = changed & self._layers.keys() & original.targets.keys()
        self._fits: dict[str, Fit] = {}
        self._undersampled: list[str] = []

    def prepare(self, node: onnx.NodeProto, values: Mapping[str, Batches]) -> None:
        """Refit one of the stops: the layers whose inputs are not the original's any more."""
        name = node.output[0]
        if name not in self.stops:  # the first stage may begin with anything
            return
        layer, target = self._layers[name], self._original.targets[name]
        if not self._fits_target(layer, target, values):
            return
        weight = numpy_helper.to_array(self._parameters[layer.weight])
        bias = numpy_helper.to_array(self._parameters[layer.bias]) if layer.bias else np.zeros(0, weight.dtype)
        matrix = layer.matrix(weight).astype(np.float64)
        offset = bias.astype(np.float64).reshape(layer.groups, -1) if layer.bias else np.zeros(matrix.shape[::2])
        fitting, held_out = self._moments(layer, target, values, weight.shape)
        fit = fit_layer(fitting, held_out, matrix, offset, free_bias=bool(layer.bias))
        self._fits[name] = fit
        if fitting.count < fitting.unknowns:
            self._undersampled.append(name)
        if fit.improved:
            self._store(layer.weight, layer.array(fit.weight, weight.shape))
            if layer.bias:
                self._store(layer.bias, fit.bias.reshape(bias.shape))

    def notes(self) -> tuple[str, ...]:
        """Say what was done, and where it was not."""
        improved = [fit for fit in self._fits.values() if fit.improved]
        notes = [f"{len(improved)} of {len(self._fits)} layers with other inputs than before refitted"]
        if improved:
            before, after = (float(np.median([getattr(fit, item) for fit in improved])) for item in ("before", "after"))
            notes.append(f"median relative error of a layer on held-out samples {before:.4f} -> {after:.4f}")
        if kept := [name for name, fit in self._fits.items() if not fit.improved]:
            notes.append(f"kept as cut, since a refit does worse on held-out samples: {_listed(kept)}")
        if self._undersampled:
            notes.append(f"fewer positions than unknowns, give more samples: {_listed(self._undersampled)}")
        return tuple(notes)

    @property
    def largest_unknowns(self) -> int:
        """The size of the largest system to solve."""
        shapes = {name: tuple(self._parameters[layer.weight].dims) for name, layer in self._layers.items()}
        return max((len(layer.column_channels(shapes[name])) for name, layer in self._layers.items()), default=0)

    def _fits_target(self, layer: LinearLayer, target: Target, values: Mapping[str, Batches]) -> bool:
        """Tell whether the layer owns its parameters and its outputs are channels of the target."""
        owned = all(len(self._uses[name]) == 1 for name in (layer.weight, layer.bias) if name)
        present = not target.shortcut or target.shortcut in values
        return owned and present and len(self._kept(target)) == self._outputs(layer)

    def _outputs(self, layer: LinearLayer) -> int:
        """Return the number of output channels, of all groups."""
        dims = self._parameters[layer.weight].dims
        unknowns = len(layer.column_channels(tuple(dims)))
        return layer.groups * int(np.prod(dims)) // (layer.groups * unknowns)

    def _moments(
        self, layer: LinearLayer, target: Target, values: Mapping[str, Batches], weight_shape: tuple[int, ...]
    ) -> tuple[Moments, Moments]:
        kept = self._kept(target)
        parts = []
        unknowns = len(layer.column_channels(weight_shape))
        for part in (slice(None, self._original.fitting), slice(self._original.fitting, None)):
            sums = MomentSums(layer.groups, unknowns, len(kept) // layer.groups)
            shortcuts = values[target.shortcut][part] if target.shortcut else [None] * len(target.samples[part])
            for sample, value, shortcut in zip(target.samples[part], values[layer.input][part], shortcuts, strict=True):
                wanted = sample.rows[:, kept]
                if shortcut is not None:
                    wanted = wanted - rows_of(shortcut, layer.channel_axis(shortcut.ndim), sample.at)
                columns = layer.columns(value, weight_shape, sample.shape, sample.at)
                sums.add(columns, by_group(wanted, layer.groups))
            parts.append(sums.moments())
        return parts[0], parts[1]

    def _kept(self, target: Target) -> Array:
        """Return the channels of a target that are left; none where its units lie along another axis."""
        sample = target.samples[0]
        axis = self._original.analysis.tensors.get(target.tensor)
        if axis is None:
            return np.arange(sample.rows.shape[1])
        along_channels = axis.axis == target.layer.channel_axis(len(sample.shape))
        return np.flatnonzero(~self._removed[axis.units]) if along_channels else np.arange(0)

    def _store(self, name: str, values: Array) -> None:
        tensor = self._parameters[name]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.astype(dtype)), name))


def _changed(index: GraphIndex, layers: Mapping[str, LinearLayer], original: Original) -> set[str]:
    """Return the tensors that are not what they were: past a layer that lost inputs, or a node that was rewired."""
    before = {node.output[0]: list(node.input) for node in original.analysis.index.nodes}
    changed: set[str] = set()
    for node in index.nodes:
        layer = layers.get(node.output[0])
        source = original.layers.get(node.output[0])
        lost = layer is not None and (source is None or _lost_inputs(index, layer, original, source))
        if lost or list(node.input) != before.get(node.output[0]) or any(name in changed for name in node.input):
            changed.update(node.output)
    return changed


def _lost_inputs(index: GraphIndex, layer: LinearLayer, original: Original, source: LinearLayer) -> bool:
    now = index.constants[layer.weight].dims[layer.input_axis]
    before = original.analysis.index.constants[source.weight].dims[source.input_axis]
    depthwise = before == 1 or layer.groups != source.groups
    return not depthwise and now != before


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
