"""Turn recorded unions into units: connected components of labels, with boxes enforced.

A box: what is kept of a tensor must be a cartesian product of kept indices. A tensor whose units vary along
several axes (a reshaped channel) therefore keeps only one of them varying: of the possible axes the one that
leaves most units, the last of equals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from toolchain.graph.index import Use
from toolchain.graph.labels import KEPT, LabelArray, Labels, Reason, Site, Unions, all_at_once, varying_axes

IndexArray = npt.NDArray[np.int64]

BOX = Reason("layout", "its channels are spread over several axes of a reshaped tensor together with fixed ones")


class Resolution:
    """Maps labels to units; units are numbered from 1 in the order of their first label, 0 is always kept."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._inexact = all_at_once(labels.inexact)
        self._parameter_unions()
        self._renew()
        while self._enforce_boxes():
            self._renew()

    def units(self, labels: LabelArray) -> LabelArray:
        """Return the units of a label tensor."""
        return self._unit_of[labels]

    def removable(self, labels: LabelArray) -> LabelArray:
        """Return the units of a label tensor, 0 also where a unit is frozen."""
        units = self.units(labels)
        frozen = self._first_frozen[units] >= 0
        if not self._labels.allow_inexact:
            frozen |= self._first_inexact[units] >= 0
        return np.where(frozen, KEPT, units)

    def reasons(self, unit: int) -> tuple[Reason | None, Reason | None]:
        """Return why a unit is frozen, and why what stays would compute something else without it; the first of each.

        It is frozen for the latter only where inexact results are not allowed and nothing else freezes it.
        """
        always, inexactly = int(self._first_frozen[unit]), int(self._first_inexact[unit])
        inexact = self._labels.inexact[inexactly].reason if inexactly >= 0 else None
        if always >= 0:
            return self._labels.unions[always].reason, inexact
        return None if self._labels.allow_inexact else inexact, inexact

    def kinds(self) -> IndexArray:
        """Return 1 for each unit that can never be removed, 2 for one that results must be inexact for, else 0."""
        return np.where(self._first_frozen >= 0, 1, np.where(self._first_inexact >= 0, 2, 0))

    def _renew(self) -> None:
        united = all_at_once(self._labels.unions)
        first = _components_of(united.left, united.right, self._labels.count)
        number = np.cumsum(first == np.arange(len(first))) - 1
        self._unit_of: LabelArray = number[first]
        self.count = int(number[-1]) + 1
        self._first_frozen = self._first(united)
        self._first_inexact = self._first(self._inexact)

    def _first(self, unions: Unions) -> IndexArray:
        """Return the number of the first union that freezes each unit, -1 where none does."""
        first = np.full(self.count, -1)
        first[self._unit_of[unions.frozen[::-1]]] = unions.number[::-1]  # of equal indices the last assignment stays
        return first

    def _enforce_boxes(self) -> bool:
        changed = False
        for labels in self._labels.boxes.values():
            axes = varying_axes(self.removable(labels))
            if len(axes) > 1:
                self._keep_one_axis(labels, axes)
                changed = True
        return changed

    def _keep_one_axis(self, labels: LabelArray, axes: list[int]) -> None:
        best = max(axes, key=lambda axis: (self._units_along(labels, axis), axis))
        first = labels
        for axis in axes:
            if axis != best:
                first = first.take([0], axis)
        self._labels.unite(labels, first, BOX)

    def _units_along(self, labels: LabelArray, axis: int) -> int:
        """Count the units that stay if everything else than this axis is united."""
        units = np.moveaxis(self.removable(labels), axis, 0).reshape(labels.shape[axis], -1)
        size = int(units.max()) + 1
        left, right = np.broadcast_arrays(units, units[:, :1])
        component = _components_of(left.ravel(), right.ravel(), size)
        return len(np.unique(component[units[:, 0]]))

    def _parameter_unions(self) -> None:
        """Unite a parameter's labels over all its uses; a use that no rule recorded freezes them."""
        by_parameter: dict[str, list[Site]] = defaultdict(list)
        for site in self._labels.sites if self._labels.shared else ():
            if site.parameter in self._labels.shared:
                by_parameter[site.parameter].append(site)
        for parameter, sites in by_parameter.items():
            self._unite_uses(parameter, sites)

    def _unite_uses(self, parameter: str, sites: Sequence[Site]) -> None:
        shared = Reason(f"parameter '{parameter}'", "another use of it cannot lose the same channels")
        shape = self._labels.fact(parameter).shape or ()
        zeros = np.zeros([1] * len(shape), np.int64)
        for axis in range(len(shape)):
            per_use = dict.fromkeys(self._labels.shared[parameter], zeros)
            laid = ((Use(site.node_index, site.input_index), site.laid_out(len(shape))) for site in sites)
            per_use.update({use: labels for use, labels in laid if labels.shape[axis] > 1})
            first, *rest = per_use.values()
            for labels in rest:
                self._labels.unite(first, labels, shared)


def _components_of(left: LabelArray, right: LabelArray, size: int) -> LabelArray:
    """Return for each vertex the first one of its connected component in a graph of edges left-right.

    1. Every vertex is a root: it points at itself.
    2. Of the roots of an edge's two ends the larger one is made to point at the smaller one, of several the smallest.
    3. Every end of an edge comes to point at its root (pointers are doubled).
    4. Repeat from 2 while an edge has two roots.

    (Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", 1982; there a root takes any neighbour.)
    """
    parent, ends = np.arange(size), np.concatenate([left, right])
    here, there = left, right
    while np.any(apart := here != there):
        left, right, here, there = left[apart], right[apart], here[apart], there[apart]
        np.minimum.at(parent, np.maximum(here, there), np.minimum(here, there))
        while np.any((further := parent[above := parent[ends]]) != above):
            parent[ends] = further
        here, there = parent[left], parent[right]
    return parent
