"""Infer the types of all tensors of a graph by one call of ONNX's shape inference.

It is tens of times faster than a call for each node, and knows less: what it leaves open, or finds contradictory, is
for the node by node walk, which knows the values of more tensors and names the node that is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx
from onnx import shape_inference

from toolchain.graph.index import GraphIndex
from toolchain.graph.limits import graphs_in

SHAPE_ARITHMETIC_ELEMENTS = 64
"""Integer constants up to this size may be sizes, axes or indices that shapes follow from."""

SCALES = 16
"""Numbers that Resize may read: a scale for each axis, a region's two ends along each."""

INTEGERS = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.INT32})

WRITTEN_OUT = frozenset({"Range"})
"""Ops whose values inference writes out while it propagates data, were they 2^62."""


def infer_types(index: GraphIndex, input_types: Mapping[str, onnx.TypeProto]) -> dict[str, bytes]:
    """Return the type, serialised, of every tensor that could be inferred, given those of the graph's inputs."""
    weightless = onnx.ModelProto(ir_version=index.model.ir_version, opset_import=index.model.opset_import)
    graph = weightless.graph
    graph.name = "types"
    graph.node.extend(index.nodes)
    graph.input.extend(onnx.ValueInfoProto(name=name, type=proto) for name, proto in input_types.items())
    for (data_type, shape), tensors in index.constants_by_type.items():
        if _is_shape_arithmetic(data_type, shape):
            graph.initializer.extend(tensors.values())
            continue
        for name in tensors:  # the size without the weights
            graph.initializer.add(name=name, data_type=data_type).dims.extend(shape)
    try:
        inferred = shape_inference.infer_shapes(weightless, data_prop=_is_bounded(index))
    except (shape_inference.InferenceError, RuntimeError):
        return {}
    return {item.name: item.type.SerializeToString() for item in inferred.graph.value_info}


def _is_bounded(index: GraphIndex) -> bool:
    if not index.captures:
        return WRITTEN_OUT.isdisjoint(index.ops)
    return not any(node.op_type in WRITTEN_OUT for graph in graphs_in(index.model) for node in graph.node)


def _is_shape_arithmetic(data_type: int, shape: tuple[int, ...]) -> bool:
    if data_type in INTEGERS:
        return prod(shape) <= SHAPE_ARITHMETIC_ELEMENTS
    return data_type == onnx.TensorProto.FLOAT and len(shape) <= 1 and prod(shape) <= SCALES
