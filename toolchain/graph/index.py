"""Read-only look-ups over the main graph of one ONNX model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolchain.graph.evaluation import Evaluator

AttributeValue = int | float | str | bytes | list[int] | list[float] | list[str] | onnx.TensorProto | None

GRAPH_TYPES = frozenset({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""The ops of ONNX that carry graphs; those of other domains may as well."""


class Use(NamedTuple):
    """One place where a tensor is read; `input_index` is -1 when a subgraph of the node captures it."""

    node_index: int
    input_index: int


def attribute(node: onnx.NodeProto, name: str) -> AttributeValue:
    """Return the attribute's value, strings decoded; None when it is absent."""
    for candidate in node.attribute:
        if candidate.name == name:
            value = onnx.helper.get_attribute_value(candidate)
            return value.decode() if isinstance(value, bytes) else value
    return None


def int_attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an integer attribute or its default."""
    for candidate in node.attribute:
        if candidate.name == name and candidate.type == onnx.AttributeProto.INT:
            return candidate.i
    return default


def ints_attribute(node: onnx.NodeProto, name: str) -> list[int] | None:
    """Return a list-of-integers attribute; None when it is absent."""
    for candidate in node.attribute:
        if candidate.name == name and candidate.type == onnx.AttributeProto.INTS:
            return [*candidate.ints]
    return None


def describe(node: onnx.NodeProto) -> str:
    """Name a node for a person: its op, and its name or (exporters may leave it empty) its first output."""
    domain = f"{node.domain}::" if node.domain else ""
    name = node.name or (f"-> {node.output[0]}" if node.output else "?")
    return f"{domain}{node.op_type} '{name}'"


def qualified_op(node: onnx.NodeProto) -> str:
    """Return a node's op, after its domain where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def has_subgraphs(node: onnx.NodeProto) -> bool:
    """Tell whether a node carries graphs: control flow, mostly."""
    return not GRAPH_TYPES.isdisjoint([item.type for item in node.attribute])


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a control-flow node carries."""
    for item in node.attribute:
        if item.type == onnx.AttributeProto.GRAPH:
            yield item.g
        elif item.type == onnx.AttributeProto.GRAPHS:
            yield from item.graphs


def captured_names(node: onnx.NodeProto) -> set[str]:
    """Return the names that the node's subgraphs read from the graphs around them."""
    captured: set[str] = set()
    pending = list(subgraphs(node))
    while pending:
        graph = pending.pop()
        local = {item.name for item in graph.input} | {item.name for item in graph.initializer}
        for inner in graph.node:
            captured.update(name for name in inner.input if name and name not in local)
            local.update(inner.output)
            pending.extend(subgraphs(inner))
        captured.update(item.name for item in graph.output if item.name not in local)
    return captured


class GraphIndex:
    """Nodes, constants, producers and uses of a model's main graph, each found in constant time."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = tuple(model.graph.node)
        self.constants = {item.name: item for item in model.graph.initializer}
        self.inputs = tuple(item for item in model.graph.input if item.name not in self.constants)
        self.outputs = tuple(model.graph.output)
        self._arrays: dict[str, npt.NDArray[np.generic]] = {}

    @cached_property
    def opset(self) -> int:
        """The version of the default operator set."""
        return next((item.version for item in self.model.opset_import if item.domain in ("", "ai.onnx")), 1)

    @cached_property
    def evaluator(self) -> Evaluator:
        """What runs nodes on known values, and remembers them for all who walk this graph."""
        return Evaluator(self.model)

    @cached_property
    def constants_by_type(self) -> dict[tuple[int, tuple[int, ...]], dict[str, onnx.TensorProto]]:
        """Data type and shape to the initialisers that have them, by name: many share few."""
        found: dict[tuple[int, tuple[int, ...]], dict[str, onnx.TensorProto]] = defaultdict(dict)
        for name, tensor in self.constants.items():
            found[tensor.data_type, tuple(tensor.dims[:])][name] = tensor
        return found

    @cached_property
    def ops(self) -> tuple[str, ...]:
        """The op of each node; one of another domain than ONNX's own is written `domain::op`."""
        return tuple([qualified_op(node) if node.domain else node.op_type for node in self.nodes])

    @cached_property
    def node_inputs(self) -> tuple[tuple[str, ...], ...]:
        """The names that each node reads; empty where an input is left out."""
        return tuple([tuple(node.input[:]) for node in self.nodes])  # slices of protobuf lists are quicker to read

    @cached_property
    def node_outputs(self) -> tuple[tuple[str, ...], ...]:
        """The names that each node makes; empty where an output is left out."""
        return tuple([tuple(node.output[:]) for node in self.nodes])

    @cached_property
    def producers(self) -> dict[str, int]:
        """Tensor name to the index of the node that makes it."""
        return {name: i for i, names in enumerate(self.node_outputs) for name in names if name}

    @cached_property
    def read_counts(self) -> Counter[str]:
        """Tensor name to the number of places that read it."""
        return Counter(chain.from_iterable((*self.node_inputs, *self.captures.values())))

    @cached_property
    def uses(self) -> dict[str, list[Use]]:
        """Tensor name to every place that reads it, in the graph's order."""
        found: dict[str, list[Use]] = defaultdict(list)
        for i, names in enumerate(self.node_inputs):
            for j, name in enumerate(names):
                if name:
                    found[name].append(Use(i, j))
            if i in self.captures:
                for name in sorted(self.captures[i]):
                    found[name].append(Use(i, -1))
        return found

    @cached_property
    def captures(self) -> dict[int, frozenset[str]]:
        """Index of each node with subgraphs to the names that these read from around them."""
        candidates = (i for i, op in enumerate(self.ops) if op in CONTROL_FLOW or "::" in op)
        holders = (i for i in candidates if has_subgraphs(self.nodes[i]))
        return {i: frozenset(captured_names(self.nodes[i])) for i in holders}

    def names_read(self, number: int) -> tuple[str, ...]:
        """Return what a node reads, what its subgraphs capture included; a name may stand there twice."""
        return (*filter(None, self.node_inputs[number]), *sorted(self.captures.get(number, ())))

    def array(self, name: str) -> npt.NDArray[np.generic]:
        """Return the value of an initialiser; do not write to it."""
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.constants[name])
        return self._arrays[name]
