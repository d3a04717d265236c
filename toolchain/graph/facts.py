"""Facts: what is known of every tensor without running the network.

The graph is walked once with its symbolic dimensions bound to numbers. Output types come from ONNX's own inference,
of the whole graph at once where that suffices, else node by node; values that the graph computes from shapes and small
constants (Shape, Gather, Concat, ...) are evaluated as the walk meets them, so that a Reshape's target is known when
the Reshape is reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from onnx import defs, numpy_helper, shape_inference
from onnx.checker import ValidationError

from toolchain.errors import ModelError, UsageError
from toolchain.graph.evaluation import Case, kind_of
from toolchain.graph.index import GraphIndex, describe, has_subgraphs
from toolchain.graph.whole_graph import SCALES, infer_types

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
    """What is known of one tensor; `shape` and `value` are None where they are not known.

    `content` is the value, or the initialiser that holds it: few of them are ever asked for their value.
    """

    dtype: int = onnx.TensorProto.UNDEFINED
    shape: tuple[int, ...] | None = None
    content: Array | onnx.TensorProto | None = None

    @cached_property
    def value(self) -> Array | None:
        """The value, where it is known and small."""
        return numpy_helper.to_array(self.content) if isinstance(self.content, onnx.TensorProto) else self.content

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
    return bind_inputs(GraphIndex(model).inputs, overrides, variant)


def bind_inputs(
    inputs: Sequence[onnx.ValueInfoProto], overrides: Mapping[str, int] | None = None, variant: int = 0
) -> Binding:
    """Choose a number for every symbolic dimension of these inputs, as `bind_symbols` does for a model's."""
    chosen = dict(overrides or {})
    for item in inputs:
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
        self._inferred = {""}
        self._evaluated = {""}
        self._cases: dict[Case, tuple[Fact | None, ...]] = {}
        self._opsets = list(index.model.opset_import)
        for item in index.inputs:
            self.facts[item.name] = _input_fact(item, binding)
        for (data_type, shape), tensors in index.constants_by_type.items():
            self._set_constants(data_type, shape, tensors)

    def look_ahead(self) -> None:
        """Infer the types of the whole graph at once, which is valid while no constant is changed."""
        types = {item.name: _tensor_type(self.facts[item.name]) for item in self.index.inputs}
        found = _type_facts(infer_types(self.index, types))
        known = {name: fact for name, fact in found.items() if fact.shape is not None}
        self.facts.update(known)
        self._inferred.update(known)

    def set_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        """Record an initialiser; its value is kept where it is small."""
        self._set_constants(tensor.data_type, tuple(tensor.dims), {name: tensor})

    def _set_constants(self, data_type: int, shape: tuple[int, ...], tensors: Mapping[str, onnx.TensorProto]) -> None:
        small, without_value = prod(shape) <= SMALL_ELEMENTS, Fact(data_type, shape)
        for name, tensor in tensors.items():
            self.facts[name] = without_value
            if small and not tensor.external_data:
                self.facts[name] = Fact(data_type, shape, tensor)
                self._evaluated.add(name)

    def assume(self, facts: Mapping[str, Fact]) -> None:
        """Record facts that a caller knows from elsewhere."""
        self.facts.update(facts)

    def visit(self, node: onnx.NodeProto) -> None:
        """Derive the facts of the node's outputs from those of its inputs."""
        self._visit(node, tuple(node.input), tuple(node.output))

    def visit_all(self) -> None:
        """Visit the nodes of the index in order, but for those of which nothing is left to be told: nearly all."""
        index, inferred, evaluated = self.index, self._inferred, self._evaluated
        for number, (op, read, made) in enumerate(zip(index.ops, index.node_inputs, index.node_outputs, strict=True)):
            if op == "Shape" or evaluated.issuperset(read) or not inferred.issuperset(made):
                self._visit(index.nodes[number], read, made)

    def _visit(self, node: onnx.NodeProto, read: Sequence[str], made: Sequence[str]) -> None:
        if not self._inferred.issuperset(made):
            inferred = self._infer(node)
            self.facts.update((name, inferred.get(name) or self._declared_fact(name)) for name in made if name)
        values: Mapping[str, Array] = {}
        if self._evaluated.issuperset(read):
            values = self._evaluate(node)
        elif node.op_type == "Shape" and not node.domain:
            values = self._shape_value(node)
        for name, value in values.items():
            self.facts[name] = Fact(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape, value)
            self._evaluated.add(name)

    @cached_property
    def _declared(self) -> Mapping[str, onnx.ValueInfoProto]:
        return {item.name: item for item in (*self.index.model.graph.value_info, *self.index.outputs)}

    def _declared_fact(self, name: str) -> Fact:
        return _type_fact(self._declared[name].type) if name in self._declared else UNKNOWN

    def _infer(self, node: onnx.NodeProto) -> dict[str, Fact]:
        """Infer what a node makes; as blocks repeat in a network, so do cases, and each is inferred once."""
        known = {name: self.facts.get(name, UNKNOWN) for name in node.input if name}
        if any(fact.dtype == onnx.TensorProto.UNDEFINED for fact in known.values()) or has_subgraphs(node):
            return {}
        values = {name: value for name, fact in known.items() if (value := _vector(fact)) is not None}
        operands = ((known[name].dtype, known[name].shape, _bytes(values.get(name))) for name in node.input if name)
        case = (kind_of(node), *operands)
        if case not in self._cases:
            found = self._infer_case(node, known, values)
            self._cases[case] = tuple([found.get(name) for name in node.output])
        return {name: fact for name, fact in zip(node.output, self._cases[case], strict=True) if fact is not None}

    def _infer_case(
        self, node: onnx.NodeProto, known: Mapping[str, Fact], values: Mapping[str, Array]
    ) -> dict[str, Fact]:
        try:
            schema = defs.get_schema(node.op_type, self.index.opset, node.domain)
        except defs.SchemaError:
            return {}
        types = {name: _tensor_type(fact) for name, fact in known.items()}
        data = {name: numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()}
        try:
            result = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self._opsets, ir_version=self.index.model.ir_version
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
        shapes = [self.facts[name].shape for name in node.output if name]
        if any(shape is None or prod(shape) > SMALL_ELEMENTS for shape in shapes):
            return {}
        if node.domain not in ("", "ai.onnx") or node.op_type in NON_DETERMINISTIC or has_subgraphs(node):
            return {}
        known = {name: self.facts[name].value for name in node.input if name}
        return self.index.evaluator.run(node, {name: value for name, value in known.items() if value is not None})

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
    walk.look_ahead()
    walk.visit_all()
    return walk.facts


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


def _vector(fact: Fact) -> Array | None:
    """Return a value that inference may look into: sizes, axes and scales have one axis at most."""
    if fact.shape is None or len(fact.shape) > 1:
        return None
    return None if fact.dtype == onnx.TensorProto.FLOAT and prod(fact.shape) > SCALES else fact.value


def _bytes(value: Array | None) -> bytes | None:
    return None if value is None else value.tobytes()


def _type_facts(types: Mapping[str, bytes]) -> dict[str, Fact]:
    """Read serialised types, each distinct one once: a network has few of them."""
    facts = {content: _type_fact(onnx.TypeProto.FromString(content)) for content in {*types.values()}}
    return {name: facts[content] for name, content in types.items()}


def _type_fact(proto: onnx.TypeProto) -> Fact:
    tensor = proto.tensor_type
    if not proto.HasField("tensor_type"):
        return UNKNOWN
    dims = tensor.shape.dim
    shape = tuple([dim.dim_value for dim in dims])
    unset = 0 in shape and not all(dim.HasField("dim_value") for dim in dims)
    known = not unset and (shape or tensor.HasField("shape"))
    return Fact(tensor.elem_type, shape if known else None)


def _tensor_type(fact: Fact) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(fact.dtype, fact.shape)
