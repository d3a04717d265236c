"""Turn recorded unions into units: connected components of labels, with boxes enforced.

A box: what is kept of a tensor must be a cartesian product of kept indices. A tensor whose units vary along
several axes (a reshaped channel) therefore keeps only one of them varying: of the possible axes the one that
leaves most units, the last of equals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from toolchain.graph.labels import KEPT, LabelArray, Labels, Reason, Site, is_line, varying_axes

BOX = Reason("layout", "its channels are spread over several axes of a reshaped tensor together with fixed ones")


class Resolution:
    """Maps labels to units; units are numbered from 1 in the order of their first label, 0 is always kept."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._parameter_unions()
        self._boxes = [labels for labels in self._arrays() if not is_line(labels)]
        self._renew()
        while self._enforce_boxes():
            self._renew()
        self.count = len(self._frozen)
        self.reasons = self._reasons()

    def units(self, labels: LabelArray) -> LabelArray:
        """Return the units of a label tensor."""
        return self._unit_of[labels]

    def removable(self, labels: LabelArray) -> LabelArray:
        """Return the units of a label tensor, 0 also where a unit is frozen."""
        units = self.units(labels)
        return np.where(self._frozen[units], KEPT, units)

    def _renew(self) -> None:
        self._unit_of = self._components()
        self._frozen = np.zeros(int(self._unit_of.max(initial=0)) + 1, np.bool_)
        for chosen, _ in self._labels.frozen:
            self._frozen[self._unit_of[chosen]] = True

    def _components(self) -> LabelArray:
        first = _components_of(*self._labels.edges(), self._labels.count)
        number = np.cumsum(first == np.arange(len(first))) - 1
        units: LabelArray = number[first]
        return units

    def _arrays(self) -> Iterable[LabelArray]:
        yield from self._labels.tensors.values()
        yield from (site.labels for site in self._labels.sites)

    def _enforce_boxes(self) -> bool:
        changed = False
        for labels in self._boxes:
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
        for site in self._labels.sites:
            if len(self._labels.uses[site.parameter]) > 1:
                by_parameter[site.parameter].append(site)
        for parameter, sites in by_parameter.items():
            self._unite_uses(parameter, sites)

    def _unite_uses(self, parameter: str, sites: Sequence[Site]) -> None:
        shared = Reason(f"parameter '{parameter}'", "another use of it cannot lose the same channels")
        shape = self._labels.fact(parameter).shape or ()
        zeros = np.zeros([1] * len(shape), np.int64)
        for axis in range(len(shape)):
            per_use = dict.fromkeys(self._labels.uses[parameter], zeros)
            per_use.update({site.use: site.labels for site in sites if site.labels.shape[axis] > 1})
            first, *rest = per_use.values()
            for labels in rest:
                self._labels.unite(first, labels, shared)

    def _reasons(self) -> dict[int, Reason]:
        """Return the first reason recorded for each frozen unit."""
        first = np.full(self.count, -1)
        for number, (chosen, _) in reversed(list(enumerate(self._labels.frozen))):
            first[self._unit_of[chosen]] = number
        first[KEPT] = -1
        return {int(unit): self._labels.frozen[first[unit]][1] for unit in np.flatnonzero(first >= 0)}


def _components_of(left: LabelArray, right: LabelArray, size: int) -> LabelArray:
    """Return for each vertex the first one of its connected component in a graph of edges left-right.

    1. Every vertex is a root: it points at itself.
    2. Of the roots of an edge's two ends the larger one is made to point at the smaller one, of several the smallest.
    3. Every vertex comes to point at its root (pointers are doubled); repeat from 2 while an edge has two roots.

    (Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", 1982; there a root takes any neighbour.)
    """
    parent = np.arange(size)
    here, there = parent[left], parent[right]
    while np.any(apart := here != there):
        left, right, here, there = left[apart], right[apart], here[apart], there[apart]
        np.minimum.at(parent, np.maximum(here, there), np.minimum(here, there))
        while np.any((further := parent[parent]) != parent):
            parent = further
        here, there = parent[left], parent[right]
    return parent
