"""Changes to a model that must not matter to its analysis and pruning."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from oracle import analysed, prune

from toolchain.graph.index import GraphIndex


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every tensor but the network's inputs and outputs another name, and every node none."""
    changed, index = copied(model), GraphIndex(model)
    fixed = {"", *(item.name for item in (*index.inputs, *index.outputs))}
    for node in changed.graph.node:
        node.name = ""
        node.input[:] = [name if name in fixed else f"t/{name}" for name in node.input]
        node.output[:] = [name if name in fixed else f"t/{name}" for name in node.output]
    for item in changed.graph.initializer:
        item.name = f"t/{item.name}"
    return changed


def reordered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Order nodes topologically, the latest that can run first."""
    index = GraphIndex(model)
    known = {"", *(item.name for item in index.inputs), *index.constants}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        node = next(node for node in reversed(waiting) if known.issuperset(node.input))
        waiting.remove(node)
        ordered.append(node)
        known.update(node.output)
    changed = copied(model)
    del changed.graph.node[:]
    changed.graph.node.extend(ordered)
    return changed


def zeroed(model: onnx.ModelProto, removed: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Set the slices of all parameters that these units take with them to zero."""
    kept = prune(model, removed).surgery.kept
    changed = copied(analysed(model).model)
    for item in changed.graph.initializer:
        array = numpy_helper.to_array(item).copy()
        for axis, positions in kept.get(item.name, {}).items():
            array[(slice(None),) * axis + (np.setdiff1d(np.arange(array.shape[axis]), positions),)] = 0
        item.CopyFrom(numpy_helper.from_array(array, item.name))
    return changed
