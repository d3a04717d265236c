"""`fold-batchnorm`: merge BatchNormalization into the convolution before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_graphsurgeon as gs

from toolchain.graph.normalise import normalise
from toolchain.pipeline.contract import Pass, PassContext, PassResult, restore_identity

Array = npt.NDArray[np.float64]

OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
DEFAULT_EPSILON = 1e-5


@dataclass(frozen=True)
class FoldBatchnorm(Pass):
    """Fold inference BatchNormalization into Conv and ConvTranspose.

    y = s * (W x + b - m) / sqrt(v + e) + t   =   W' x + b'      with  k = s / sqrt(v + e) per output channel
    W' = k * W,   b' = k * (b - m) + t                           computed in float64

    Left alone: a convolution whose output something else reads, weights that are computed, training mode.
    """

    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:  # noqa: ARG002
        """Fold every pair; weights get new names, so that a weight shared with another node stays as it is."""
        graph = gs.import_onnx(model)
        folded = sum(_fold(graph, node) for node in list(graph.nodes) if node.op == "BatchNormalization")
        if not folded:
            return PassResult(model, False, ("no BatchNormalization that follows a convolution alone",))
        graph.cleanup().toposort()
        result = normalise(gs.export_onnx(graph, do_type_check=False))
        restore_identity(result, model)
        return PassResult(result, True, (f"{folded} BatchNormalization nodes folded",))


def _fold(graph: gs.Graph, norm: gs.Node) -> bool:
    convolution = _foldable_convolution(graph, norm)
    if convolution is None:
        return False
    scale, shift, mean, variance = (item.values.astype(np.float64) for item in norm.inputs[1:5])
    factor = scale / np.sqrt(variance + norm.attrs.get("epsilon", DEFAULT_EPSILON))
    weight = convolution.inputs[1].values
    bias = convolution.inputs[2].values.astype(np.float64) if len(convolution.inputs) > 2 else np.zeros_like(mean)
    name = convolution.name or norm.name or norm.outputs[0].name
    folded_weight = _scaled(weight, factor, convolution).astype(weight.dtype)
    folded_bias = (factor * (bias - mean) + shift).astype(weight.dtype)
    taken = set(graph.tensors())
    convolution.inputs = [
        convolution.inputs[0],
        gs.Constant(_unused(f"{name}.folded_weight", taken), folded_weight),
        gs.Constant(_unused(f"{name}.folded_bias", taken), folded_bias),
    ]
    convolution.outputs = [norm.outputs[0]]
    norm.outputs = []
    return True


def _foldable_convolution(graph: gs.Graph, norm: gs.Node) -> gs.Node | None:
    source = norm.inputs[0]
    if norm.attrs.get("training_mode", 0) or len(norm.outputs) > 1 or source in graph.outputs:
        return None
    if len(source.inputs) != 1 or len(source.outputs) != 1 or source.inputs[0].op not in OUTPUT_AXIS:
        return None
    convolution: gs.Node = source.inputs[0]
    operands = [*norm.inputs[1:5], *convolution.inputs[1:3]]
    return convolution if all(isinstance(item, gs.Constant) for item in operands) else None


def _scaled(weight: npt.NDArray[np.generic], factor: Array, convolution: gs.Node) -> Array:
    """Scale the weight's output channels; a grouped ConvTranspose spreads them over both of its axes."""
    shape = [1] * weight.ndim
    if convolution.op == "Conv":
        shape[0] = -1
        return weight.astype(np.float64) * factor.reshape(shape)
    groups = convolution.attrs.get("group", 1)
    per_group = factor.reshape(groups, 1, -1).repeat(weight.shape[0] // groups, axis=1)
    shape[0], shape[1] = weight.shape[:2]
    scaled: Array = weight.astype(np.float64) * per_group.reshape(shape)
    return scaled


def _unused(stem: str, taken: set[str]) -> str:
    while stem in taken:
        stem += "_"
    return stem
