"""Run single nodes on known values, by ONNX's reference implementation.

Exporters write the same shape arithmetic at every block of a network: a case that was run before is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[np.generic]

_Case = tuple[object, ...]


class Evaluator:
    """Runs nodes of one model's operator sets; remembers every distinct case."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opsets = list(model.opset_import)
        self._found: dict[_Case, tuple[Array, ...]] = {}

    def run(self, node: onnx.NodeProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the values of the node's outputs by name; empty where the reference cannot run the op."""
        case = _case(node, inputs)
        if case not in self._found:
            self._found[case] = self._run(node, inputs)
        return dict(zip(filter(None, node.output), self._found[case], strict=False))

    def _run(self, node: onnx.NodeProto, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        outputs = [name for name in node.output if name]
        function = onnx.helper.make_function("", "one_node", list(inputs), outputs, [node], self._opsets)
        try:
            with np.errstate(all="ignore"):  # NumPy warns of what a node makes of odd numbers
                values = ReferenceEvaluator(function).run(None, dict(inputs), attributes={})
        except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
            return ()  # An op the reference cannot run is merely not known.
        return tuple(np.asarray(value) for value in values)


def _case(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> _Case:
    """Return all that decides a node's outputs: names play no part."""
    attributes = tuple(item.SerializeToString(deterministic=True) for item in node.attribute)
    operands = tuple(_content(inputs[name]) if name else None for name in node.input)
    return (node.op_type, attributes, operands, tuple(map(bool, node.output)))


def _content(value: Array) -> _Case:
    return (value.dtype, value.shape, value.tobytes())
