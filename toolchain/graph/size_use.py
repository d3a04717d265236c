"""Channel counts that a network computes with: a sum divided by Shape's output, a scale of 1/sqrt(channels).

Removal changes the count, and with it what such a network computes. This walk finds these uses:

1. Where Shape counts positions that can be removed, the count is perturbed.
2. Perturbed values are carried through every op that can be evaluated (Gather, Concat, Mul, Cast, ...).
3. Read as a size (the target of a Reshape, the ends of a Slice), a count follows the pruned shape: nothing to do.
4. Read as anything else, it freezes the channels it counts.
"""

from __future__ import annotations

from collections.abc import KeysView, Mapping, Set

import numpy as np
import onnx

from toolchain.graph.evaluation import Array, Evaluator
from toolchain.graph.facts import Fact
from toolchain.graph.index import GraphIndex, describe, int_attribute
from toolchain.graph.labels import Labels, Reason, varying_axes
from toolchain.graph.resolution import Resolution

SIZE_OPERANDS = {
    "ConstantOfShape": {0},
    "Expand": {1},
    "Pad": {1},
    "Reshape": {1},
    "Resize": {2, 3},
    "Slice": {1, 2, 3, 4},
    "Split": {1},
    "Tile": {1},
}

COUNTING_OPS = frozenset({"Shape", "Size"})

PERTURBATION = 1009  # a prime, so that the usual divisions and remainders notice it


def resolve_counted_channels(index: GraphIndex, facts: Mapping[str, Fact], labels: Labels) -> Resolution:
    """Freeze the channels whose number is used as a number; return the units that this leaves.

    Units are resolved first: an axis along which they turn out not to vary (the size of an attention head, where
    whole heads go) is never removed from. Freezing can only take away from that, so that one walk is enough.
    """
    resolution = Resolution(labels)
    if COUNTING_OPS.isdisjoint(index.ops):
        return resolution
    walk = _Walk(index.evaluator, facts, labels, resolution)
    for number, op in enumerate(index.ops):
        if op in COUNTING_OPS or not walk.counted.isdisjoint(index.names_read(number)):
            walk.visit(index.nodes[number], index.captures.get(number, frozenset()))
    for output in index.outputs:
        walk.freeze({output.name}, Reason(f"graph output '{output.name}'", "it is the number of channels"))
    return Resolution(labels) if walk.froze else resolution


class _Walk:
    """Perturbed values by tensor, and the tensors whose channels they count."""

    def __init__(self, evaluator: Evaluator, facts: Mapping[str, Fact], labels: Labels, resolution: Resolution) -> None:
        self.froze = False
        self._facts = facts
        self._evaluator = evaluator
        self._labels = labels
        self._resolution = resolution
        self._values: dict[str, Array] = {}
        self._counted: dict[str, set[str]] = {}

    @property
    def counted(self) -> KeysView[str]:
        """The tensors whose values depend on the number of channels."""
        return self._counted.keys()

    def visit(self, node: onnx.NodeProto, captured: Set[str]) -> None:
        if node.op_type in COUNTING_OPS and not node.domain:
            self._start(node)
            return
        sizes = SIZE_OPERANDS.get(node.op_type, set())
        read = {name for position, name in enumerate(node.input) if position not in sizes}
        read = (read | captured) & self._counted.keys()
        if read and not self._carry(node, read):
            self.freeze(read, Reason(describe(node), "it computes with the number of channels"))

    def freeze(self, names: set[str], reason: Reason) -> None:
        for name in names & self._counted.keys():
            for source in self._counted[name]:
                self._labels.freeze_tensor(source, reason)
                self.froze = True

    def _start(self, node: onnx.NodeProto) -> None:
        source, output = node.input[0], node.output[0]
        axes = varying_axes(self._resolution.removable(self._labels.of(source)))
        if node.op_type == "Size" and axes:
            self._counted[output] = {source}
            return
        value = self._facts[output].value
        if not axes or value is None:
            return
        steps = np.zeros(self._facts[source].rank or 0, np.int64)
        steps[axes] = PERTURBATION
        window = steps[int_attribute(node, "start", 0) :][: value.size]
        if np.any(window):
            self._values[output] = np.add(value, window)
            self._counted[output] = {source}

    def _carry(self, node: onnx.NodeProto, read: set[str]) -> bool:
        """Evaluate the node on perturbed values; tell whether that was possible."""
        known = {name: self._values.get(name, self._facts[name].value) for name in node.input if name}
        inputs = {name: value for name, value in known.items() if value is not None}
        names = [name for name in node.output if name]
        if len(inputs) < len(known) or any(self._facts[name].value is None for name in names):
            return False
        values = self._evaluator.run(node, inputs)
        if any(name not in values or values[name].shape != self._facts[name].shape for name in names):
            return False
        for name in names:
            if np.any(values[name] != self._facts[name].value):
                self._values[name] = values[name]
                self._counted[name] = set().union(*(self._counted[source] for source in read))
        return True
