"""Run a model node by node over many samples, so that each layer can be changed before the next one sees it.

One forward pass in total: a tensor is kept for all batches until its last reader has run. Memory is therefore
that of the widest cut of the graph times the samples; `samples_within` says how many fit a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy.typing as npt
import onnx

from toolchain.graph.facts import Fact
from toolchain.graph.index import GraphIndex
from toolchain.targets.onnxruntime import ReferenceSession

Array = npt.NDArray[Any]
Batches = list[Array]
Visit = Callable[[onnx.NodeProto, Batches], Batches]
"""Called with a node and its first output in every batch; returns what the nodes after it shall see."""
Prepare = Callable[[onnx.NodeProto, Mapping[str, Batches]], None]
"""Called before a node runs, with all tensors that are still to be read; may change the model's parameters."""


def run_layerwise(
    model: onnx.ModelProto,
    feeds: Sequence[Mapping[str, Array]],
    visit: Visit | None = None,
    *,
    prepare: Prepare | None = None,
) -> dict[str, Batches]:
    """Run every node on all batches in turn and return the graph's outputs."""
    index = GraphIndex(model)
    readers = Counter(name for node in index.nodes for name in node.input if name)
    readers.update(item.name for item in index.outputs)
    values: dict[str, Batches] = {item.name: [batch[item.name] for batch in feeds] for item in index.inputs}
    for node in index.nodes:
        if prepare:
            prepare(node, values)
        results = _run_node(index, node, values, len(feeds))
        if visit:
            results[node.output[0]] = visit(node, results[node.output[0]])
        values.update({name: batches for name, batches in results.items() if readers[name]})
        for name in node.input:
            readers[name] -= 1
            if not readers[name]:
                values.pop(name, None)
    return {item.name: values[item.name] for item in index.outputs}


def samples_within(index: GraphIndex, facts: Mapping[str, Fact], limit_bytes: int) -> int:
    """Return how many samples a layerwise run can hold within a limit, the widest cut of the graph counted."""
    sizes = {name: 4 * prod(fact.shape or (0,)) for name, fact in facts.items() if name not in index.constants}
    last = {name: number for number, node in enumerate(index.nodes) for name in node.input if name}
    alive, widest = sum(sizes.get(item.name, 0) for item in index.inputs), 1
    for number, node in enumerate(index.nodes):
        alive += sum(sizes.get(name, 0) for name in node.output)
        widest = max(widest, alive)
        alive -= sum(sizes.get(name, 0) for name in set(node.input) if last.get(name) == number)
    shape = facts[index.inputs[0].name].shape or (1,)
    return max(1, limit_bytes * max(shape[0], 1) // widest)


def _run_node(
    index: GraphIndex, node: onnx.NodeProto, values: Mapping[str, Batches], batches: int
) -> dict[str, Batches]:
    live = [name for name in dict.fromkeys(node.input) if name in values]
    session = ReferenceSession(_one_node_model(index, node, {name: values[name][0] for name in live}))
    results = [session.run({name: values[name][number] for name in live}) for number in range(batches)]
    return {name: [result[name] for result in results] for name in node.output if name}


def _one_node_model(index: GraphIndex, node: onnx.NodeProto, samples: Mapping[str, Array]) -> onnx.ModelProto:
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
        for name, value in samples.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    constants = [index.constants[name] for name in dict.fromkeys(node.input) if name in index.constants]
    graph = onnx.helper.make_graph([node], "one_node", inputs, outputs, constants)
    return onnx.helper.make_model(
        graph, opset_imports=list(index.model.opset_import), ir_version=index.model.ir_version
    )
