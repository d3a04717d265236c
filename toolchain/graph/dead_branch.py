"""Whole branches that go: a group of width 0 takes everything that only served it.

Walking the nodes in order, with tensors that have lost all their channels called empty:

1. A node whose outputs are all empty goes.
2. A weighted layer whose input is empty computes its bias and nothing else: a constant, one value per channel.
3. A pointwise node on constants alone is a constant too.
4. A pointwise node that meets a live tensor reads the constant as an initialiser: a residual branch ends here.
5. A Concat loses its empty inputs.

Anything else that would need an empty or constant tensor makes the branch irremovable, and says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolchain.errors import ModelError
from toolchain.graph.analysis import Analysis
from toolchain.graph.index import describe
from toolchain.graph.rule import NodeView, Rule
from toolchain.targets.onnxruntime import ReferenceSession

Array = npt.NDArray[Any]


class DeadBranches:
    """Which tensors are empty or constant, as a walk over the nodes finds out."""

    def __init__(self, analysis: Analysis, removed: npt.NDArray[np.bool_], model: onnx.ModelProto) -> None:
        self._empty = {name for name, axis in analysis.tensors.items() if np.all(removed[axis.units])}
        self._parameters = {tensor.name: tensor for tensor in model.graph.initializer} if self._empty else {}
        self._opsets = list(model.opset_import)
        self._ir_version = model.ir_version
        self._outputs = {item.name for item in model.graph.output}
        self.constants: dict[str, Array] = {}

    @property
    def any(self) -> bool:
        """Whether anything goes as a whole."""
        return bool(self._empty)

    def removes(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node goes: it had outputs, and nothing is left of them."""
        outputs = [name for name in node.output if name]
        return bool(outputs) and self._empty.issuperset(outputs)

    def settles(self, view: NodeView, node: onnx.NodeProto, rule: Rule | None) -> bool:
        """Tell whether a node's output is a constant now, and remember it; repair a Concat.

        Raises ModelError where the node needs a tensor that is gone.
        """
        if self._empty.isdisjoint(node.input) and self.constants.keys().isdisjoint(node.input):
            return False
        if rule is not None and rule.drops_empty_inputs and self.constants.keys().isdisjoint(node.input):
            remaining = [name for name in node.input if name not in self._empty]
            del node.input[:]
            node.input.extend(remaining)
            return False
        if rule is not None and not self._empty.isdisjoint(node.input):
            value = rule.without_input(view, self._parameter)
        else:
            value = self._evaluated(view, node, rule)
        if value is not None and node.output[0] not in self._outputs:
            self.constants[node.output[0]] = value
            return True
        if value is not None or rule is None or not rule.is_pointwise(view):
            raise ModelError(
                f"{describe(node)}: it needs a branch that would be removed as a whole", hint="keep one of its channels"
            )
        return False

    def _evaluated(self, view: NodeView, node: onnx.NodeProto, rule: Rule | None) -> Array | None:
        """Compute a pointwise node whose inputs are all constant, on one value per channel."""
        names = [name for name in dict.fromkeys(node.input) if name]
        readable = all(name in self.constants or name in self._parameters for name in names)
        if rule is None or not rule.is_pointwise(view) or not readable:
            return None
        known = {name: self._known(name) for name in names}
        graph = onnx.helper.make_graph(
            [node],
            "one_node",
            [
                onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for name, value in known.items()
            ],
            [onnx.ValueInfoProto(name=node.output[0])],
        )
        model = onnx.helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)
        return ReferenceSession(model).run(known)[node.output[0]]

    def _known(self, name: str) -> Array:
        return self.constants[name] if name in self.constants else self._parameter(name)

    def _parameter(self, name: str) -> Array:
        return numpy_helper.to_array(self._parameters[name])


def drop_unused_nodes(model: onnx.ModelProto) -> None:
    """Remove nodes that nothing reads any more, from the outputs backwards."""
    needed = {item.name for item in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
