"""The contract of an op rule: how labels travel through a node, and what to refresh in it after removal.

A rule is one file in `passes/rules/`. It is asked only for nodes all of whose tensors have known shapes; every
other node, and every op without a rule, is opaque: the units that reach it are frozen with that reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.graph.facts import UNKNOWN, Fact
from toolchain.graph.index import GraphIndex, describe, int_attribute, ints_attribute
from toolchain.graph.labels import LabelArray, Labels, Reason, Role, Site, is_line, long_axis, vector

Array = npt.NDArray[Any]
IndexArray = npt.NDArray[np.int64]


class NodeView:
    """One node with what is known around it; everything a rule may ask.

    `inputs` and `outputs` are names, empty where one is left out.
    """

    __slots__ = ("index", "inputs", "labels", "node", "node_index", "op", "outputs")

    def __init__(self, index: GraphIndex, node_index: int, labels: Labels) -> None:
        self.index = index
        self.node_index = node_index
        self.labels = labels
        self.node = index.nodes[node_index]
        self.op = index.ops[node_index]
        self.inputs = index.node_inputs[node_index]
        self.outputs = index.node_outputs[node_index]

    @property
    def where(self) -> str:
        """The node's name for messages."""
        return describe(self.node)

    def reason(self, why: str) -> Reason:
        """Make a reason that names this node."""
        return Reason(self.where, why)

    def input_name(self, position: int) -> str:
        """Return an input's name; empty when it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def input_shape(self, position: int) -> tuple[int, ...]:
        """Return an input's shape."""
        if position >= len(self.inputs):
            return ()
        return self.labels.facts.get(self.inputs[position], UNKNOWN).shape or ()

    def output_shape(self, position: int = 0) -> tuple[int, ...]:
        """Return an output's shape."""
        return self.labels.facts.get(self.outputs[position], UNKNOWN).shape or ()

    def input_labels(self, position: int) -> LabelArray:
        """Return an input's labels."""
        name = self.input_name(position)
        labels = self.labels.tensors.get(name)
        return self.labels.of(name) if labels is None else labels

    def fact(self, position: int) -> Fact:
        """Return what is known of an input."""
        return self.labels.facts.get(self.inputs[position], UNKNOWN) if position < len(self.inputs) else UNKNOWN

    def is_parameter(self, position: int) -> bool:
        """Tell whether an input is an initialiser, whose size surgery can change."""
        return position < len(self.inputs) and self.inputs[position] in self.index.constants

    def int_attribute(self, name: str, default: int) -> int:
        """Return an integer attribute or its default."""
        return int_attribute(self.node, name, default)

    def ints_attribute(self, name: str) -> list[int] | None:
        """Return a list-of-integers attribute; None when it is absent."""
        return ints_attribute(self.node, name)

    def axes_input(self, position: int, attribute_name: str = "axes") -> list[int] | None:
        """Return axes given as an attribute (older opsets) or as an input; None when neither is there."""
        given = self.ints_attribute(attribute_name)
        if given is not None or not self.input_name(position):
            return given
        value = self.fact(position).value
        return None if value is None else [int(item) for item in value.reshape(-1).tolist()]

    def assign(self, labels: LabelArray, position: int = 0) -> None:
        """Give an output its labels."""
        if position < len(self.outputs):
            self.labels.assign(self.outputs[position], labels)

    def pass_on(self, position: int) -> None:
        """Give every output the labels of an input that has the same axes."""
        labels = self.labels.tensors.get(self.inputs[position])
        if labels is not None:
            self.labels.tensors.update((name, labels) for name in self.outputs if name)

    def site(self, position: int, role: Role, labels: LabelArray) -> None:
        """Record the labels, of a parameter's rank, that it carries at this use.

        Raises ModelError where the parameter has another rank: the node cannot be run.
        """
        shape, rank = self.input_shape(position), labels.ndim
        if len(shape) != rank:
            axes = f"{len(shape)} axes where a node reads it as having {rank}"
            raise ModelError(f"parameter '{self.inputs[position]}' has {axes}", hint="export it again")
        if rank == 1:
            self.site_along(0, position, role, labels)
        elif is_line(labels):
            self.site_along(long_axis(labels, shape), position, role, vector(labels))
        else:
            self.labels.site(Site(self.inputs[position], self.node_index, position, role, labels, None))

    def site_along(self, axis: int, position: int, role: Role, labels: LabelArray) -> None:
        """Record the vector of labels that a parameter carries along one of its axes at this use."""
        self.labels.sites.append(Site(self.inputs[position], self.node_index, position, role, labels, axis))

    def hold_all_but(self, axis: int, why: str) -> LabelArray:
        """Hold every axis of the first input but this one, and return its labels."""
        labels = self.input_labels(0)
        if labels.shape[axis] == labels.size:  # nearly always
            return labels
        others = [other for other in range(labels.ndim) if other != axis]
        return self.labels.hold(labels, others, self.reason(why))

    def freeze_inputs(self, why: str) -> None:
        """Freeze every unit that reaches this node."""
        reason = self.reason(why)
        for name in self.inputs:
            self.labels.freeze_tensor(name, reason)


class Editor(Protocol):
    """What a rule may do to its node after removal; `surgery` implements it."""

    def kept(self, tensor: str, axis: int) -> IndexArray:
        """Return the kept positions along an axis of a tensor of the original graph."""

    def set_int(self, name: str, value: int) -> None:
        """Set an integer attribute of the node."""

    def set_ints(self, name: str, values: Iterable[int]) -> None:
        """Set a list-of-integers attribute of the node."""

    def drop_attribute(self, name: str) -> None:
        """Remove an attribute of the node."""

    def pin(self, position: int, values: npt.ArrayLike) -> None:
        """Make an integer operand of the node equal these values, wherever it came from."""


class Rule(ABC):
    """How labels travel through the ops named in `ops`."""

    ops: ClassVar[frozenset[str]]
    only_carries: ClassVar[bool] = False
    """Whether there is nothing to label where no input carries labels."""
    drops_empty_inputs: ClassVar[bool] = False
    """Whether an input without any channel left may simply be left out."""

    @abstractmethod
    def label(self, view: NodeView) -> None:
        """Give the outputs their labels; record sites, unions, freezes."""

    def refresh(self, view: NodeView, editor: Editor) -> None:  # noqa: B027  (most ops carry no sizes)
        """Bring attributes and shape operands in line with what was kept."""

    def macs(self, view: NodeView) -> int:  # noqa: ARG002
        """Return the multiply-accumulates of one batch; 0 for ops that do not multiply with weights."""
        return 0

    def is_pointwise(self, view: NodeView) -> bool:  # noqa: ARG002
        """Tell whether each output value depends on the values at its own position (after broadcasting) alone."""
        return False

    def without_input(self, view: NodeView, parameter: Callable[[str], Array]) -> Array | None:  # noqa: ARG002
        """Return the output, one value per channel, when the live input has lost all channels; None if unknown."""
        return None
