"""Surgery: apply a plan to a model.

1. Every parameter is sliced with `take` along each axis that carries units.
2. The nodes are walked in order. Before each, its rule brings attributes and shape operands in line; after it,
   the shapes it now gives are checked against what was kept. Nothing stale can stay behind unnoticed.
3. A group that loses all its units takes its branch with it (`dead_branch`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from toolchain.errors import ModelError
from toolchain.graph.analysis import Analysis, UnitCount
from toolchain.graph.dead_branch import DeadBranches, drop_unused_nodes
from toolchain.graph.facts import Fact, FactWalk, bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex, describe
from toolchain.graph.plan import Plan, removed_units
from toolchain.graph.rule import IndexArray

Array = npt.NDArray[np.generic]
KeptAxes = Mapping[int, IndexArray]
"""Axis to the kept positions along it; axes that lose nothing are absent."""

FLAT_OPS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Ops that leave a vector of sizes what it is; a pin passes through them to its source."""


@dataclass(frozen=True, eq=False)
class Surgery:
    """The pruned model, and for each parameter that changed what was kept along its axes."""

    model: onnx.ModelProto
    kept: Mapping[str, KeptAxes]


def apply_plan(analysis: Analysis, plan: Plan) -> Surgery:
    """Remove the plan's units from the analysed model, which is left alone.

    Raises UsageError where the plan does not fit, ModelError where a shape cannot be brought in line.
    """
    removed = removed_units(analysis, plan)
    kept: dict[str, dict[int, IndexArray]] = {}
    for site in analysis.sites:
        if np.any(removed[site.units]):
            kept.setdefault(site.parameter, {})[site.axis] = np.flatnonzero(~removed[site.units])
    model = _sliced(analysis.model, kept)
    _Surgeon(analysis, removed, model).walk()
    return Surgery(model, kept)


def _sliced(model: onnx.ModelProto, kept: Mapping[str, KeptAxes]) -> onnx.ModelProto:
    """Copy a model without its nodes, its parameters sliced."""
    result = onnx.ModelProto(ir_version=model.ir_version)
    result.opset_import.extend(model.opset_import)
    result.metadata_props.extend(model.metadata_props)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if model.HasField(field):
            setattr(result, field, getattr(model, field))
    result.graph.name = model.graph.name
    if model.graph.HasField("doc_string"):
        result.graph.doc_string = model.graph.doc_string
    result.graph.input.extend(model.graph.input)
    result.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        axes = kept.get(tensor.name)
        result.graph.initializer.append(_take(tensor, axes) if axes else tensor)
    return result


def _take(tensor: onnx.TensorProto, axes: KeptAxes) -> onnx.TensorProto:
    array = numpy_helper.to_array(tensor)
    for axis, positions in axes.items():
        array = array.take(positions, axis)
    return numpy_helper.from_array(np.ascontiguousarray(array), tensor.name)


class _Surgeon:
    """Walks the nodes of the model in the making; the `Editor` that rules see."""

    def __init__(self, analysis: Analysis, removed: npt.NDArray[np.bool_], model: onnx.ModelProto) -> None:
        self._analysis = analysis
        self._removed = removed
        self._model = model
        self._walk = FactWalk(GraphIndex(model), analysis.binding)
        self._nodes: list[onnx.NodeProto] = []
        self._node = onnx.NodeProto()
        self._branches = DeadBranches(analysis, removed, model)
        self._counts: dict[int, list[UnitCount]] = defaultdict(list)
        for item in analysis.counts:
            self._counts[item.node_index].append(item)
        self._shrunk = {name for name, axis in analysis.tensors.items() if np.any(removed[axis.units])}

    def walk(self) -> None:
        """Copy, refresh and check node after node; then drop initialisers that nothing reads any more."""
        for number, original in enumerate(self._analysis.index.nodes):
            if self._branches.removes(original):
                continue
            self._node = onnx.NodeProto()
            self._node.CopyFrom(original)
            view = self._analysis.view(number)
            rule = self._analysis.rules.get(original.op_type)
            if self._branches.settles(view, self._node, rule):
                continue
            self._read_constants()
            self._write_counts(number)
            if rule and self._is_touched(original):
                rule.refresh(view, self)
            self._append(self._node)
            self._carry_over(number)
            self._check(original)
        self._model.graph.node.extend(self._nodes)
        if self._branches.any:
            drop_unused_nodes(self._model)
        _drop_unused_initialisers(self._model)

    def _read_constants(self) -> None:
        """Read what is left of a removed branch as an initialiser."""
        for position, name in enumerate(self._node.input):
            if name in self._branches.constants:
                self._node.input[position] = self._constant(self._branches.constants[name], "branch")

    def _write_counts(self, number: int) -> None:
        """Give constants that hold a number of units the number that is left."""
        for item in self._counts[number]:
            if np.any(self._removed[item.units]):
                constant = self._analysis.index.array(self._analysis.index.node_inputs[number][item.input_index])
                value = np.full(constant.shape, item.value(self._removed), constant.dtype)
                self._node.input[item.input_index] = self._constant(value, "count")

    def _is_touched(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node's tensors lost channels, or a size it reads is another one now."""
        if self._shrunk.intersection((*node.input, *node.output)):
            return True
        before, now = self._analysis.facts, self._walk.facts
        return any(not _same_value(before.get(name), now.get(name)) for name in node.input)

    def kept(self, tensor: str, axis: int) -> IndexArray:
        """Return the kept positions along an axis of a tensor of the original graph."""
        size = (self._analysis.facts[tensor].shape or ())[axis]
        located = self._analysis.tensors.get(tensor)
        if located is None or located.axis != axis or len(located.units) != size:
            return np.arange(size)  # a single unit that spans the tensor is never removed: it is its group's last
        return np.flatnonzero(~self._removed[located.units])

    def set_int(self, name: str, value: int) -> None:
        """Set an integer attribute of the node."""
        self._set(name, value)

    def set_ints(self, name: str, values: Iterable[int]) -> None:
        """Set a list-of-integers attribute of the node."""
        self._set(name, list(values))

    def drop_attribute(self, name: str) -> None:
        """Remove an attribute of the node."""
        remaining = [item for item in self._node.attribute if item.name != name]
        del self._node.attribute[:]
        self._node.attribute.extend(remaining)

    def pin(self, position: int, values: npt.ArrayLike) -> None:
        """Make an integer operand equal these values, wherever it came from."""
        while len(self._node.input) <= position:
            self._node.input.append("")
        name = self._node.input[position]
        wanted = np.asarray(values).astype(_numpy_dtype(self._walk.facts[name], np.dtype(np.int64)))
        self._node.input[position] = self._pinned(name, wanted) if name else self._constant(wanted)

    def _set(self, name: str, value: int | list[int]) -> None:
        self.drop_attribute(name)
        self._node.attribute.append(onnx.helper.make_attribute(name, value))

    def _pinned(self, name: str, wanted: Array) -> str:
        """Return a tensor with the wanted values, changing as little as possible of how `name` is made.

        1. It has them already: itself.
        2. It does not depend on a symbolic dimension: a new constant.
        3. It is a Concat, or passes a vector through: the same op on pinned inputs.
        4. Otherwise the entries that differ are replaced, the others (symbolic sizes) stay computed.
        """
        current = self._walk.facts[name].value
        if current is not None and current.shape == wanted.shape and np.array_equal(current, wanted):
            return name
        if self._is_static(name):
            return self._constant(wanted)
        producer = self._analysis.index.nodes[self._analysis.index.producers[name]]
        if producer.op_type == "Concat":
            return self._pinned_concat(producer, wanted)
        if producer.op_type in FLAT_OPS:
            source = self._walk.facts[producer.input[0]]
            inner = wanted.reshape(source.shape or wanted.shape).astype(_numpy_dtype(source, wanted.dtype))
            return self._derived(producer, [self._pinned(producer.input[0], inner), *producer.input[1:]])
        return self._patched(name, current, wanted)

    def _pinned_concat(self, producer: onnx.NodeProto, wanted: Array) -> str:
        sizes = [int(np.prod(self._walk.facts[name].shape or (1,))) for name in producer.input]
        parts = np.split(wanted, np.cumsum(sizes)[:-1])
        return self._derived(
            producer, [self._pinned(name, part) for name, part in zip(producer.input, parts, strict=True)]
        )

    def _derived(self, producer: onnx.NodeProto, inputs: list[str]) -> str:
        node = onnx.NodeProto()
        node.CopyFrom(producer)
        del node.input[:]
        node.input.extend(inputs)
        return self._insert(node)

    def _patched(self, name: str, current: Array | None, wanted: Array) -> str:
        here, there = self._analysis.facts[name].value, self._other_facts.get(name, Fact()).value
        if current is None or here is None or there is None or current.shape != wanted.shape:
            raise ModelError(
                f"{describe(self._node)}: its sizes come from '{name}', "
                "which cannot be brought in line with the pruned shape"
            )
        differs = np.asarray(current != wanted)
        if np.any(differs & (here != there)):
            raise ModelError(
                f"{describe(self._node)}: its sizes come from '{name}', "
                "which multiplies channels with a size that is left open"
            )
        mask, values = self._constant(differs), self._constant(wanted)
        return self._insert(onnx.helper.make_node("Where", [mask, values, name], [name]))

    def _insert(self, node: onnx.NodeProto) -> str:
        node.output[0] = self._unused(f"{node.output[0]}.pruned")
        node.name = node.output[0]
        self._append(node)
        return node.output[0]

    def _append(self, node: onnx.NodeProto) -> None:
        self._walk.visit(node)
        self._nodes.append(node)

    def _carry_over(self, number: int) -> None:
        """Where a node's shapes were known from the whole graph and are not from it alone, take them as they were.

        Subgraphs, and what follows them, are inferred with the whole; valid where nothing that the node reads changed.
        """
        index, before, now = self._analysis.index, self._analysis.facts, self._walk.facts
        made = [name for name in index.node_outputs[number] if name]
        if all(before[name].shape is None or now[name].shape is not None for name in made):
            return
        read = before.keys() & index.names_read(number)
        if all(name in now and _same(before[name], now[name]) for name in read):
            self._walk.assume({name: before[name] for name in made})

    def _constant(self, values: Array, what: str = "sizes") -> str:
        consumer = self._node.name or self._node.output[0]
        tensor = numpy_helper.from_array(values, self._unused(f"{consumer}.{what}"))
        self._model.graph.initializer.append(tensor)
        self._walk.set_constant(tensor.name, tensor)
        return tensor.name

    def _unused(self, stem: str) -> str:
        candidates = chain([stem], (f"{stem}.{number}" for number in count(2)))
        return next(name for name in candidates if name not in self._walk.facts and name not in self._analysis.facts)

    def _is_static(self, name: str) -> bool:
        if name in self._analysis.index.constants:
            return True
        here, there = self._analysis.facts[name].value, self._other_facts.get(name, Fact()).value
        return here is not None and there is not None and np.array_equal(here, there)

    @cached_property
    def _other_facts(self) -> Mapping[str, Fact]:
        """Facts under another choice of symbolic sizes: what differs depends on them."""
        if not self._analysis.binding:
            return self._analysis.facts
        doubled = {name: 2 * size for name, size in self._analysis.binding.items()}
        try:
            return infer_facts(self._analysis.index, bind_symbols(self._analysis.model, overrides=doubled))
        except ModelError:
            return {}

    def _check(self, original: onnx.NodeProto) -> None:
        """Compare the shapes that the node gives now with what was kept."""
        for name in filter(None, original.output):
            before, now = self._analysis.facts[name].shape, self._walk.facts[name].shape
            if before is None:
                continue
            wanted = tuple(len(self.kept(name, axis)) for axis in range(len(before)))
            if now != wanted or (0 in wanted and 0 not in before):
                raise ModelError(
                    f"{describe(original)}: after removal its output '{name}' would be {now}, not {wanted}"
                )


def _same(before: Fact, now: Fact) -> bool:
    return before.shape == now.shape and _same_value(before, now)


def _same_value(before: Fact | None, now: Fact | None) -> bool:
    if before is None or before.value is None or now is None or now.value is None:
        return True
    return np.array_equal(before.value, now.value)


def _numpy_dtype(fact: Fact, fallback: np.dtype[Any]) -> np.dtype[Any]:
    return onnx.helper.tensor_dtype_to_np_dtype(fact.dtype) if fact.dtype else fallback


def _drop_unused_initialisers(model: onnx.ModelProto) -> None:
    read = set(GraphIndex(model).uses) | {item.name for item in model.graph.output}
    unused = [number for number, item in enumerate(model.graph.initializer) if item.name not in read]
    for number in reversed(unused):
        del model.graph.initializer[number]
