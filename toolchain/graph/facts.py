"""Facts: what is known of every tensor without running the network.

The graph is walked once with its symbolic dimensions bound to numbers. Each node's output types come from
ONNX's own per-node inference; values that the graph computes from shapes and small constants (Shape, Gather,
Concat, ...) are evaluated as the walk meets them, so that a Reshape's target is known when the Reshape is reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import defs, numpy_helper, shape_inference
from onnx.checker import ValidationError
from onnx.reference import ReferenceEvaluator

from toolchain.errors import ModelError, UsageError
from toolchain.graph.index import GraphIndex, describe, subgraphs

SMALL_ELEMENTS = 4096
"""Tensors up to this size are evaluated where their inputs are known: shape arithmetic is far smaller."""

NON_DETERMINISTIC = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)

WITHOUT_INFERENCE = frozenset({"GroupNormalization", "MeanVarianceNormalization"})
"""Ops that ONNX infers no shape for; their output is like their first input."""

Array = npt.NDArray[np.generic]
Binding = Mapping[str, int]
"""Symbolic dimension to the number that stands for it."""


@dataclass(frozen=True, eq=False)
class Fact:
    """What is known of one tensor; `shape` and `value` are None where they are not known."""

    dtype: int = onnx.TensorProto.UNDEFINED
    shape: tuple[int, ...] | None = None
    value: Array | None = None

    @property
    def rank(self) -> int | None:
        """The number of axes, where it is known."""
        return None if self.shape is None else len(self.shape)


UNKNOWN = Fact()


def bind_symbols(model: onnx.ModelProto, *, overrides: Mapping[str, int] | None = None, variant: int = 0) -> Binding:
    """Choose a number for every symbolic input dimension.

    1. `overrides` (from `--input-shapes`) win.
    2. The first axis is a batch: 2 + variant.
    3. Any other axis: 64 * (1 + variant), which every usual down-sampling divides.
    """
    chosen = dict(overrides or {})
    for item in GraphIndex(model).inputs:
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                name = dim.dim_param or anonymous_symbol(item.name, axis)
                chosen.setdefault(name, 2 + variant if axis == 0 else 64 * (1 + variant))
    return chosen


def anonymous_symbol(tensor: str, axis: int) -> str:
    """Name a dimension that the file leaves open without naming it."""
    return f"{tensor}:{axis}"


class FactWalk:
    """Derives facts node by node; a caller may change a node's constants before it is reached."""

    def __init__(self, index: GraphIndex, binding: Binding) -> None:
        self.index = index
        self.facts: dict[str, Fact] = {"": UNKNOWN}
        self._opsets = list(index.model.opset_import)
        self._ir_version = index.model.ir_version
        self._declared = {item.name: item for item in (*index.model.graph.value_info, *index.outputs)}
        for item in index.inputs:
            self.facts[item.name] = _input_fact(item, binding)
        for name in index.constants:
            self.set_constant(name, index.constants[name])

    def set_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        """Record an initialiser; its value is kept where it is small."""
        small = int(np.prod(tensor.dims, dtype=np.int64)) <= SMALL_ELEMENTS and not tensor.external_data
        value = numpy_helper.to_array(tensor) if small else None
        self.facts[name] = Fact(tensor.data_type, tuple(tensor.dims), value)

    def visit(self, node: onnx.NodeProto) -> None:
        """Derive the facts of the node's outputs from those of its inputs."""
        inferred = self._infer(node)
        for name in filter(None, node.output):
            declared = self._declared.get(name)
            self.facts[name] = inferred.get(name) or (_declared_fact(declared) if declared else UNKNOWN)
        values = self._evaluate(node)
        for name, value in values.items():
            self.facts[name] = Fact(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape, value)

    def _infer(self, node: onnx.NodeProto) -> dict[str, Fact]:
        known = {name: self.facts.get(name, UNKNOWN) for name in node.input if name}
        if any(fact.dtype == onnx.TensorProto.UNDEFINED for fact in known.values()) or any(subgraphs(node)):
            return {}
        try:
            schema = defs.get_schema(node.op_type, self.index.opset, node.domain)
        except defs.SchemaError:
            return {}
        types = {name: onnx.helper.make_tensor_type_proto(fact.dtype, fact.shape) for name, fact in known.items()}
        data = {
            name: numpy_helper.from_array(np.asarray(fact.value), name)
            for name, fact in known.items()
            if fact.value is not None and fact.value.ndim <= 1
        }
        try:
            result = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self._opsets, ir_version=self._ir_version
            )
        except ValidationError:
            return {}  # The op is deprecated in this opset: it is as good as unknown.
        except (shape_inference.InferenceError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(f"{describe(node)}: its shapes do not fit together ({reason})") from error
        found = {name: _type_fact(proto) for name, proto in result.items()}
        if node.op_type in WITHOUT_INFERENCE:
            found[node.output[0]] = Fact(known[node.input[0]].dtype, known[node.input[0]].shape)
        return found

    def _evaluate(self, node: onnx.NodeProto) -> dict[str, Array]:
        if node.op_type == "Shape" and not node.domain:
            return self._shape_value(node)
        inputs = {name: self.facts.get(name, UNKNOWN).value for name in node.input if name}
        if not node.input or any(value is None for value in inputs.values()) or any(subgraphs(node)):
            return {}
        sizes = [self.facts[name].shape for name in node.output if name]
        if any(shape is None or np.prod(shape) > SMALL_ELEMENTS for shape in sizes):
            return {}
        if node.domain not in ("", "ai.onnx") or node.op_type in NON_DETERMINISTIC:
            return {}
        return evaluate_node(self.index, node, self.facts, inputs)

    def _shape_value(self, node: onnx.NodeProto) -> dict[str, Array]:
        shape = self.facts.get(node.input[0], UNKNOWN).shape
        if shape is None:
            return {}
        bounds = {item.name: item.i for item in node.attribute}
        window = shape[bounds.get("start", 0) : bounds.get("end", len(shape))]
        return {node.output[0]: np.array(window, dtype=np.int64)}


def infer_facts(index: GraphIndex, binding: Binding) -> dict[str, Fact]:
    """Walk the whole graph once and return the facts of all its tensors."""
    walk = FactWalk(index, binding)
    for node in index.nodes:
        walk.visit(node)
    return walk.facts


def evaluate_node(
    index: GraphIndex, node: onnx.NodeProto, facts: Mapping[str, Fact], inputs: Mapping[str, Array | None]
) -> dict[str, Array]:
    """Run one node by ONNX's reference implementation; empty where it has none for the op."""
    graph = onnx.helper.make_graph(
        [node],
        "one_node",
        [_value_info(name, facts[name]) for name in inputs],
        [_value_info(name, facts[name]) for name in node.output if name],
    )
    opsets, ir_version = list(index.model.opset_import), index.model.ir_version
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    try:
        results = ReferenceEvaluator(model).run(None, dict(inputs))
    except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
        return {}  # An op the reference cannot run is merely not known.
    names = [name for name in node.output if name]
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}


def _input_fact(item: onnx.ValueInfoProto, binding: Binding) -> Fact:
    tensor = item.type.tensor_type
    if not item.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return Fact(tensor.elem_type)
    shape = []
    for axis, dim in enumerate(tensor.shape.dim):
        name = dim.dim_param or anonymous_symbol(item.name, axis)
        if not dim.HasField("dim_value") and name not in binding:
            raise UsageError(
                f"input '{item.name}' axis {axis} ('{name}') has no size",
                hint=f'give one with --input-shapes "{item.name}:[...]"',
            )
        shape.append(dim.dim_value if dim.HasField("dim_value") else binding[name])
    return Fact(tensor.elem_type, tuple(shape))


def _type_fact(proto: onnx.TypeProto) -> Fact:
    tensor = proto.tensor_type
    if not proto.HasField("tensor_type"):
        return UNKNOWN
    known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    shape = tuple(dim.dim_value for dim in tensor.shape.dim) if known else None
    return Fact(tensor.elem_type, shape)


def _declared_fact(item: onnx.ValueInfoProto) -> Fact:
    return _type_fact(item.type)


def _value_info(name: str, fact: Fact) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, fact.dtype, fact.shape)
