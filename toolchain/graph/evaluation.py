"""Run single nodes on known values, by ONNX's reference implementation.

Exporters write the same shape arithmetic at every block of a network: an op with its attributes is prepared once, and
a case that was run before is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[np.generic]

Case = tuple[object, ...]


class Evaluator:
    """Runs nodes of one model's operator sets; remembers every distinct case."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opsets = list(model.opset_import)
        self._prepared: dict[Case, ReferenceEvaluator] = {}
        self._found: dict[Case, tuple[Array, ...]] = {}

    def run(self, node: onnx.NodeProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the values of the node's outputs by name; empty where the reference cannot run the op."""
        kind = kind_of(node)
        operands = {f"input{i}": inputs[name] for i, name in enumerate(node.input) if name}
        case = (kind, *((value.dtype, value.shape, value.tobytes()) for value in operands.values()))
        if case not in self._found:
            self._found[case] = self._run(node, kind, operands)
        return dict(zip(filter(None, node.output), self._found[case], strict=False))

    def _run(self, node: onnx.NodeProto, kind: Case, operands: dict[str, Array]) -> tuple[Array, ...]:
        try:
            if kind not in self._prepared:
                self._prepared[kind] = self._prepare(node)
            with np.errstate(all="ignore"):  # NumPy warns of what a node makes of odd numbers
                values = self._prepared[kind].run(None, operands, attributes={})
        except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
            return ()  # An op the reference cannot run is merely not known.
        return tuple(np.asarray(value) for value in values)

    def _prepare(self, node: onnx.NodeProto) -> ReferenceEvaluator:
        """Make a function of the node alone, its inputs and outputs numbered instead of named."""
        inputs = [name and f"input{i}" for i, name in enumerate(node.input)]
        outputs = [name and f"output{i}" for i, name in enumerate(node.output)]
        numbered = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=inputs, output=outputs)
        numbered.attribute.extend(node.attribute)
        given, made = ([*filter(None, names)] for names in (inputs, outputs))
        return ReferenceEvaluator(onnx.helper.make_function("", "one_node", given, made, [numbered], self._opsets))


def kind_of(node: onnx.NodeProto) -> Case:
    """Return all but the values of its operands that decides a node's outputs: names play no part."""
    attributes = tuple([item.SerializeToString(deterministic=True) for item in node.attribute])
    return (node.op_type, node.domain, attributes, tuple(map(bool, node.input)), tuple(map(bool, node.output)))
