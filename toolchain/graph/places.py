"""Places: the vectors of units along the axes of tensors and parameters, found for all label tensors at once.

Networks repeat what a few vectors say: most tensors carry the labels of another one, and most label tensors are lines.
So every distinct vector of labels is looked up once, all of them in one go, and equal units are one array.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolchain.graph.labels import LabelArray, Labels, long_axis, varying_axes, vector, wide_axes
from toolchain.graph.resolution import Resolution

UnitArray = npt.NDArray[np.int64]


class Axis(NamedTuple):
    """The units along one axis of a tensor or parameter; 0 where the position is always kept."""

    axis: int
    units: UnitArray


class Places(NamedTuple):
    """Where units lie, by the identity of labels: along an axis of label tensors, and in the vectors of sites."""

    axes: dict[int, Axis]
    vectors: dict[int, UnitArray]


def find_places(labels: Labels, resolution: Resolution) -> Places:
    """Look up the units of all label tensors and sites; what has none is absent.

    Equal units are one array, so that those who group them may go by identity.
    """
    distinct: dict[bytes, UnitArray] = {}
    arrays = {id(array): array for array in labels.tensors.values()}
    lines = {key: vector(array) for key, array in arrays.items() if key not in labels.boxes}
    vectors = [*lines.values(), *(site.labels for site in labels.sites if site.axis is not None)]
    units = _units_of({id(array): array for array in vectors}, resolution, distinct)
    axes = {key: Axis(long_axis(arrays[key]), units[id(line)]) for key, line in lines.items() if id(line) in units}
    for key, box in labels.boxes.items():
        found = _axis_of_box(box, resolution)
        if found is not None:
            axes[key] = Axis(found.axis, distinct.setdefault(found.units.tobytes(), found.units))
    return Places(axes, units)


def _units_of(
    vectors: Mapping[int, LabelArray], resolution: Resolution, distinct: dict[bytes, UnitArray]
) -> dict[int, UnitArray]:
    """Return the units of each vector that has any, all looked up in one go."""
    filled = {key: vector for key, vector in vectors.items() if vector.size}
    if not filled:
        return {}
    units = resolution.units(np.concatenate([*filled.values()]))
    end = np.array([*map(len, filled.values())]).cumsum()
    start = np.append(0, end[:-1])
    some = np.maximum.reduceat(units, start) > 0
    windows = zip(filled, start.tolist(), end.tolist(), some.tolist(), strict=True)
    found = {key: units[first:last] for key, first, last, any_ in windows if any_}
    return {key: distinct.setdefault(own.tobytes(), own) for key, own in found.items()}


def _axis_of_box(labels: LabelArray, resolution: Resolution) -> Axis | None:
    """Take the one axis of removable units, else of frozen ones, else a wide one."""
    units = resolution.units(labels)
    if not units.any():
        return None
    varying = varying_axes(resolution.removable(labels)) or varying_axes(units)
    axis = (varying or wide_axes(units))[0]
    return Axis(axis, np.moveaxis(units, axis, 0).reshape(units.shape[axis], -1)[:, 0])
