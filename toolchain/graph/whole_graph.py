"""Infer the types of all tensors of a graph by one call of ONNX's shape inference.

It is tens of times faster than a call for each node, and knows less: what it leaves open, or finds contradictory, is
for the node by node walk, which knows the values of more tensors and names the node that is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx
from onnx import helper, shape_inference

from toolchain.graph.limits import graphs_in

SHAPE_ARITHMETIC_ELEMENTS = 64
"""Integer constants up to this size may be sizes, axes or indices that shapes follow from; all others stay behind."""

WRITTEN_OUT = frozenset({"Range"})
"""Ops whose values inference writes out while it propagates data, were they 2^62."""


def infer_types(model: onnx.ModelProto, input_types: Mapping[str, onnx.TypeProto]) -> dict[str, onnx.TypeProto]:
    """Return the type of every tensor that could be inferred, given those of the graph's inputs."""
    graph = onnx.GraphProto(name="types")
    graph.node.extend(model.graph.node)
    graph.input.extend(onnx.ValueInfoProto(name=name, type=proto) for name, proto in input_types.items())
    for constant in model.graph.initializer:
        if _is_shape_arithmetic(constant):
            graph.initializer.append(constant)
        else:  # the size without the weights
            graph.initializer.add(name=constant.name, data_type=constant.data_type, dims=constant.dims)
    weightless = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    bounded = not any(node.op_type in WRITTEN_OUT for part in graphs_in(weightless) for node in part.node)
    try:
        inferred = shape_inference.infer_shapes(weightless, data_prop=bounded)
    except (shape_inference.InferenceError, RuntimeError):
        return {}
    return {item.name: item.type for item in inferred.graph.value_info}


def _is_shape_arithmetic(constant: onnx.TensorProto) -> bool:
    integers = constant.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    scales = constant.data_type == onnx.TensorProto.FLOAT and len(constant.dims) <= 1  # of Resize
    return (integers or scales) and prod(constant.dims) <= SHAPE_ARITHMETIC_ELEMENTS
