"""Bring the many ways of writing one network down to one, without touching its arithmetic.

1. Model-local functions are inlined.
2. Constant nodes become initialisers (dense tensors, ints, floats); so does the Identity of an initialiser, by
   which exporters store equal parameters of unrelated layers once.
3. Initialisers that are also listed as inputs (IR version 3) are initialisers only.
4. Intermediate shapes recorded by the exporter are dropped: facts are derived, never trusted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from toolchain.graph.index import attribute

OLDEST_IR_WITH_FREE_INITIALISERS = 4


def normalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent model in the form that analysis and surgery read; the input is left alone."""
    result = inliner.inline_local_functions(model) if model.functions else copy_model(model)
    _lift_constants(result.graph)
    _drop_initialisers_from_inputs(result)
    del result.graph.value_info[:]
    return result


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that can be changed."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _lift_constants(graph: onnx.GraphProto) -> None:
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        tensor = _constant_tensor(node) or _copied_initialiser(node, initialisers)
        if tensor is None:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        initialisers[tensor.name] = tensor
    if len(kept) != len(graph.node):
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)


def _copied_initialiser(node: onnx.NodeProto, initialisers: Mapping[str, onnx.TensorProto]) -> onnx.TensorProto | None:
    if node.op_type != "Identity" or node.domain not in ("", "ai.onnx") or node.input[0] not in initialisers:
        return None
    result = onnx.TensorProto()
    result.CopyFrom(initialisers[node.input[0]])
    return result


def _constant_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    value = attribute(node, "value")
    if isinstance(value, onnx.TensorProto):
        result = onnx.TensorProto()
        result.CopyFrom(value)
        return result
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        plain = attribute(node, name)
        if plain is not None:
            return numpy_helper.from_array(np.asarray(plain, dtype=dtype))
    return None


def _drop_initialisers_from_inputs(model: onnx.ModelProto) -> None:
    names = {item.name for item in model.graph.initializer}
    kept = [item for item in model.graph.input if item.name not in names]
    if len(kept) == len(model.graph.input):
        return
    inputs = [onnx.ValueInfoProto.FromString(item.SerializeToString()) for item in kept]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, OLDEST_IR_WITH_FREE_INITIALISERS)
