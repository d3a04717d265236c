"""Channel labels: which positions of every tensor stand or fall together.

A label tensor holds integers, one per position, broadcastable to the tensor's shape: an axis along which the
label does not vary has size 1. A label names a unit-to-be; 0 means "always kept". Rules call five primitives:

    fresh    new labels for what a weighted op produces
    unite    two label tensors are the same units, position by position
    freeze   these units must stay, and here is why
    hold     along this axis a tensor cannot shrink: unite across it; if nothing else varies, freeze
    mix      along this axis a statistic is taken: as hold, but where nothing else varies, freeze as inexact

Uniting and freezing are recorded and resolved at the end by connected components, all at once: a rule never sees
half-merged state, and costs no more than the recording.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    """Why units are frozen: the node (or graph output) that decides it, and what about it does.

    `inexact`: they could go, but what stays would compute something else, a mean over fewer channels for one.
    """

    where: str
    why: str
    inexact: bool = False

    def __str__(self) -> str:
        return f"inexact: {self.text} (--allow-inexact)" if self.inexact else self.text

    @property
    def text(self) -> str:
        """Where and why, without what can be done about it."""
        return f"{self.where}: {self.why}"


class Role(Enum):
    """What a parameter does for the units along one of its axes."""

    PRODUCES = "produces"
    CONSUMES = "consumes"
    SCALES = "scales"


class Site(NamedTuple):
    """Labels of a parameter where a node uses it: a vector along `axis`; with its rank where there are several axes."""

    parameter: str
    node_index: int
    input_index: int
    role: Role
    labels: LabelArray
    axis: int | None

    def laid_out(self, rank: int) -> LabelArray:
        """Return the labels with the parameter's rank."""
        return self.labels if self.axis is None else along(self.labels, self.axis, rank)


class Count(NamedTuple):
    """A constant that holds how many units there are: `factor` times the number of `labels`, or the inverse of that."""

    use: Use
    labels: LabelArray
    factor: int
    inverse: bool


class Union(NamedTuple):
    """Two label tensors of one shape that are the same units, position by position, and why."""

    left: LabelArray
    right: LabelArray
    reason: Reason


class Unions(NamedTuple):
    """What many unions come to: `left` and `right` are the same units, `frozen` ones stay for the `number`-th union."""

    left: LabelArray
    right: LabelArray
    frozen: LabelArray
    number: LabelArray


def along(labels: LabelArray, axis: int, rank: int) -> LabelArray:
    """Lay a vector of labels along one axis of a tensor of this rank."""
    return labels.reshape((1,) * axis + (-1,) + (1,) * (rank - axis - 1))


def is_line(labels: LabelArray) -> bool:
    """Tell whether at most one axis has more than one position, as with nearly all label tensors."""
    return labels.size == 1 or labels.size in labels.shape


def long_axis(line: LabelArray, shape: Sequence[int] = ()) -> int:
    """Return the axis with all positions; of a single one an axis of size 1 of the tensor, or else that of channels."""
    if line.size > 1:
        return line.shape.index(line.size)
    return shape.index(1) if 1 in shape else max(0, min(1, line.ndim - 1))


def varying_axes(labels: LabelArray) -> list[int]:
    """Return the axes along which the labels are not all the same."""
    return [axis for axis in wide_axes(labels) if _varies(labels, axis)] if labels.size > 1 else []


def _varies(labels: LabelArray, axis: int) -> bool:
    """Look at both ends of the axis, which nearly always tells, then at all positions."""
    last = (0,) * axis + (-1,) + (0,) * (labels.ndim - axis - 1)
    return labels.item(last) != labels.item(0) or bool((labels != labels.take([0], axis)).any())


def wide_axes(labels: LabelArray) -> list[int]:
    """Return the axes that have more than one position."""
    return [axis for axis, size in enumerate(labels.shape) if size > 1]


class Labels:
    """The labels of every tensor, and what the rules have said of them."""

    def __init__(
        self,
        facts: Mapping[str, Fact],
        shared: Mapping[str, Collection[Use]] | None = None,
        *,
        allow_inexact: bool = False,
    ) -> None:
        """`shared` are the uses of the parameters that have several, an output of the graph among them.

        `boxes` are, by identity, the label tensors of tensors and sites that have several axes: few.
        """
        self.facts = facts
        self.shared = shared or {}
        self.tensors: dict[str, LabelArray] = {}
        self.sites: list[Site] = []
        self.unions: list[Union] = []
        self.inexact: list[Union] = []
        """What is frozen where results must be exact."""
        self.allow_inexact = allow_inexact
        self.counts: list[Count] = []
        self.boxes: dict[int, LabelArray] = {}
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
        size = labels.size
        if size > 1 and not (size in labels.shape and labels.item(0) != labels.item(-1)):
            varying = varying_axes(labels)
            labels = _squash(labels, (axis for axis in range(labels.ndim) if axis not in varying))
            if not is_line(labels):
                self.boxes[id(labels)] = labels
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
        self.unions.append(Union(left, right, reason))

    def freeze(self, labels: LabelArray, reason: Reason) -> None:
        """Keep these units, and remember why: unite them with what is always kept."""
        frozen = Union(labels, np.zeros(labels.shape, np.int64), reason)
        (self.inexact if reason.inexact else self.unions).append(frozen)

    def hold(self, labels: LabelArray, axes: Iterable[int], reason: Reason) -> LabelArray:
        """Unite the labels across these axes, which cannot shrink, and return them with size 1 there.

        Where the labels vary along no other axis, one unit would span the whole tensor: it is frozen.
        """
        if labels.size == 1:
            return labels
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

    def mix(self, labels: LabelArray, axes: Iterable[int], reason: Reason) -> LabelArray:
        """Hold these axes, over which a statistic is taken, where the labels vary along others too: whole rows may go.

        Elsewhere removal changes the statistic: freeze as inexact, and return the labels as they are.
        """
        axes, varying = set(axes), varying_axes(labels)
        if not varying or not axes.issuperset(varying):
            return self.hold(labels, axes, reason)
        self.freeze(labels, reason._replace(inexact=True))
        return labels

    def stay(self, labels: LabelArray) -> bool:
        """Tell whether all of these are frozen by one statistic before, and results must be exact."""
        return not self.allow_inexact and any(np.isin(labels, frozen.left).all() for frozen in self.inexact)

    def freeze_tensor(self, name: str, reason: Reason) -> None:
        """Freeze every unit that lives in a tensor."""
        if name in self.tensors:
            self.freeze(self.tensors[name], reason)

    def site(self, site: Site) -> None:
        """Record that a parameter carries labels where a node uses it."""
        if site.axis is None:
            self.boxes[id(site.labels)] = site.labels
        self.sites.append(site)


def all_at_once(unions: Sequence[Union]) -> Unions:
    """Tell what was united from what was frozen, over all unions at once."""
    if not unions:
        return Unions(*[np.zeros(0, np.int64)] * 4)
    left = np.concatenate([union.left.ravel() for union in unions])
    right = np.concatenate([union.right.ravel() for union in unions])
    number = np.repeat(np.arange(len(unions)), [union.left.size for union in unions])
    fixed = (left == KEPT) != (right == KEPT)
    apart = (left != right) & ~fixed
    return Unions(left[apart], right[apart], np.maximum(left, right)[fixed], number[fixed])


def vector(line: LabelArray) -> LabelArray:
    """Return a line without its axes of size 1: the very vector that it was laid out from, where that is known."""
    whole = line.base
    if whole is not None and whole.ndim == 1 and whole.size == line.size and line.flags.c_contiguous:
        return whole
    return line.reshape(-1)


def spread(labels: LabelArray, count: int) -> LabelArray:
    """Return the labels along the one axis that they may vary along as a vector of this length."""
    return vector(labels) if labels.size == count else np.full(count, labels.item())


def _squash(labels: LabelArray, axes: Iterable[int]) -> LabelArray:
    if labels.size == 1:
        return labels
    for axis in axes:
        if labels.shape[axis] > 1:
            labels = labels.take([0], axis)
    return labels
