"""Channel labels: which positions of every tensor stand or fall together.

A label tensor holds integers, one per position, broadcastable to the tensor's shape: an axis along which the
label does not vary has size 1. A label names a unit-to-be; 0 means "always kept". Rules call four primitives:

    fresh    new labels for what a weighted op produces
    unite    two label tensors are the same units, position by position
    freeze   these units must stay, and here is why
    hold     along this axis a tensor cannot shrink: unite across it; if nothing else varies, freeze

Uniting is recorded and resolved at the end by connected components, so a rule never sees half-merged state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.graph.facts import UNKNOWN, Fact
from toolchain.graph.index import Use

LabelArray = npt.NDArray[np.int64]

KEPT = 0
"""The label of positions that are always kept."""


MAX_FRESH = 1 << 24
"""Channels of one axis; the widest layers published have some thousand, their flattened inputs a million."""


class Reason(NamedTuple):
    """Why units are frozen: the node (or graph output) that decides it, and what about it does."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


class Role(Enum):
    """What a parameter does for the units along one of its axes."""

    PRODUCES = "produces"
    CONSUMES = "consumes"
    SCALES = "scales"


class Site(NamedTuple):
    """Labels along one axis of a parameter, at one use of it; `labels` has the parameter's rank."""

    parameter: str
    use: Use
    role: Role
    labels: LabelArray


def along(labels: Sequence[int] | LabelArray, axis: int, rank: int) -> LabelArray:
    """Lay a vector of labels along one axis of a tensor of this rank."""
    shape = [1] * rank
    shape[axis] = -1
    return np.asarray(labels, dtype=np.int64).reshape(shape)


def is_line(labels: LabelArray) -> bool:
    """Tell whether at most one axis has more than one position, as with nearly all label tensors."""
    return labels.size == 1 or labels.size in labels.shape


def varying_axes(labels: LabelArray) -> list[int]:
    """Return the axes along which the labels are not all the same."""
    size = labels.size
    if size == 1:
        return []
    if size and is_line(labels) and labels.item(0) != labels.item(-1):
        return [labels.shape.index(size)]  # nearly always: one look at both ends tells
    return [axis for axis in wide_axes(labels) if (labels != labels.take([0], axis)).any()]


def wide_axes(labels: LabelArray) -> list[int]:
    """Return the axes that have more than one position."""
    return [axis for axis, size in enumerate(labels.shape) if size > 1]


class Labels:
    """The labels of every tensor, and what the rules have said of them."""

    def __init__(self, facts: Mapping[str, Fact]) -> None:
        self.facts = facts
        self.tensors: dict[str, LabelArray] = {}
        self.sites: list[Site] = []
        self.uses: dict[str, set[Use]] = defaultdict(set)
        self.frozen: list[tuple[LabelArray, Reason]] = []
        self._edges: list[tuple[LabelArray, LabelArray]] = []
        self.count = 1

    def fact(self, name: str) -> Fact:
        """Return what is known of a tensor."""
        return self.facts.get(name, UNKNOWN)

    def of(self, name: str) -> LabelArray:
        """Return a tensor's labels, zeros where no rule has given any; the rank is the tensor's."""
        labels = self.tensors.get(name)
        return labels if labels is not None else np.zeros([1] * (self.fact(name).rank or 0), np.int64)

    def assign(self, name: str, labels: LabelArray) -> None:
        """Give a tensor its labels; axes along which they do not vary are stored with size 1."""
        if not name:
            return
        varying = varying_axes(labels)
        if not (varying and is_line(labels)):
            labels = _squash(labels, (axis for axis in range(labels.ndim) if axis not in varying))
        self.tensors[name] = labels

    def fresh(self, count: int) -> LabelArray:
        """Return new labels, all different."""
        if count > MAX_FRESH:
            raise ModelError(f"an axis of {count} channels, more than {MAX_FRESH}", hint="check the sizes in the model")
        first = self.count
        self.count += count
        return np.arange(first, self.count, dtype=np.int64)

    def unite(self, left: LabelArray, right: LabelArray, reason: Reason) -> None:
        """Make two label tensors the same units, position by position (they must broadcast together).

        A label that meets 0 is frozen for the given reason: the other side cannot be removed with it.
        """
        if left is right:
            return
        if left.shape != right.shape:
            try:
                left, right = np.broadcast_arrays(left, right)
            except ValueError as error:  # a parameter of two nodes that take different sizes
                raise ModelError(f"{reason}: {left.size} and {right.size} channels do not fit together") from error
        different = left != right
        if not different.any():
            return
        a, b = left[different], right[different]
        fixed = (a == KEPT) | (b == KEPT)
        if fixed.any():
            self.freeze(np.maximum(a, b)[fixed], reason)
            a, b = a[~fixed], b[~fixed]
        self._edges.append((a, b))

    def freeze(self, labels: LabelArray, reason: Reason) -> None:
        """Keep these units, and remember why."""
        if labels.any():
            self.frozen.append((labels[labels != KEPT], reason))

    def hold(self, labels: LabelArray, axes: Iterable[int], reason: Reason) -> LabelArray:
        """Unite the labels across these axes, which cannot shrink, and return them with size 1 there.

        Where the labels vary along no other axis, one unit would span the whole tensor: it is frozen.
        """
        axes = set(axes)
        held = [axis for axis in varying_axes(labels) if axis in axes]
        if not held:
            return _squash(labels, axes)
        result = labels
        for axis in held:
            first = result.take([0], axis)
            self.unite(result, first, reason)
            result = first
        if not varying_axes(result):
            self.freeze(labels, reason)
        return _squash(result, axes)

    def freeze_tensor(self, name: str, reason: Reason) -> None:
        """Freeze every unit that lives in a tensor."""
        self.freeze(self.of(name), reason)

    def site(self, parameter: str, use: Use, role: Role, labels: LabelArray) -> None:
        """Record that a parameter carries these labels where a node uses it.

        Raises ModelError where the use has another number of axes than the parameter: the node cannot be run.
        """
        shape = self.facts.get(parameter, UNKNOWN).shape
        if shape is None or len(shape) != labels.ndim:
            rank = self.fact(parameter).rank
            raise ModelError(f"parameter '{parameter}' has {rank} axes where a node reads it as having {labels.ndim}")
        self.uses[parameter].add(use)
        self.sites.append(Site(parameter, use, role, labels))

    def plain_use(self, parameter: str, use: Use) -> None:
        """Record that a node's use of a parameter leaves its size alone (a scalar, a kernel without channels)."""
        self.uses[parameter].add(use)

    def edges(self) -> tuple[LabelArray, LabelArray]:
        """Return everything that was united so far, as two equally long vectors."""
        if not self._edges:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        lefts, rights = zip(*self._edges, strict=True)
        return np.concatenate(lefts), np.concatenate(rights)


def spread(labels: LabelArray, count: int) -> LabelArray:
    """Return the labels along the one axis that they may vary along as a vector of this length."""
    vector = labels.reshape(-1)
    return vector if vector.size == count else np.broadcast_to(vector, (count,))


def _squash(labels: LabelArray, axes: Iterable[int]) -> LabelArray:
    if labels.size == 1:
        return labels
    for axis in axes:
        if labels.shape[axis] > 1:
            labels = labels.take([0], axis)
    return labels
