"""Places: the vectors of units along the axes of tensors and parameters, found for all label tensors at once.

Networks repeat what a few vectors say: most tensors carry the labels of another one, and most label tensors are lines.
So every distinct vector of labels is looked up once, all of them in one go, and equal units are one array.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolchain.graph.labels import LabelArray, Labels, long_axis, varying_axes, wide_axes
from toolchain.graph.resolution import Resolution

UnitArray = npt.NDArray[np.int64]


class Axis(NamedTuple):
    """The units along one axis of a tensor or parameter; 0 where the position is always kept."""

    axis: int
    units: UnitArray


def find_axes(labels: Labels, resolution: Resolution) -> dict[int, Axis]:
    """Return the axis along which units lie in each label tensor that has units, by its identity.

    Of a site's vector the axis is 0: the site knows which axis of the parameter that is. Equal units are one array, so
    that those who group them may go by identity.
    """
    lines = {id(array): array for array in labels.tensors.values()}
    lines.update([(id(site.labels), site.labels) for site in labels.sites])
    boxes = {key: lines.pop(key) for key in labels.boxes if key in lines}
    distinct: dict[bytes, UnitArray] = {}
    content = {key: _content(line) for key, line in lines.items()}
    units = _units_of({content[key]: line for key, line in lines.items()}, resolution, distinct)
    axes = {key: Axis(long_axis(line), units[content[key]]) for key, line in lines.items() if content[key] in units}
    for key, box in boxes.items():
        found = _axis_of_box(box, resolution)
        if found is not None:
            axes[key] = Axis(found.axis, distinct.setdefault(found.units.tobytes(), found.units))
    return axes


def _content(labels: LabelArray) -> int | bytes:
    """Return what only labels with the same values in the same order share: the array they are a view of, or them."""
    owner = labels if labels.base is None else labels.base
    whole = owner.size == labels.size and labels.flags.c_contiguous
    return id(owner) if whole else labels.tobytes()


def _units_of(
    lines: Mapping[int | bytes, LabelArray], resolution: Resolution, distinct: dict[bytes, UnitArray]
) -> dict[int | bytes, UnitArray]:
    """Return the units of each line that has any."""
    filled = {content: line.ravel() for content, line in lines.items() if line.size}
    if not filled:
        return {}
    units = resolution.units(np.concatenate([*filled.values()]))
    end = np.cumsum([line.size for line in filled.values()])
    start = np.append(0, end[:-1])
    some = np.maximum.reduceat(units, start) > 0
    windows = zip(filled, start.tolist(), end.tolist(), some.tolist(), strict=True)
    found = {content: units[first:last] for content, first, last, any_ in windows if any_}
    return {content: distinct.setdefault(vector.tobytes(), vector) for content, vector in found.items()}


def _axis_of_box(labels: LabelArray, resolution: Resolution) -> Axis | None:
    """Take the one axis of removable units, else of frozen ones, else a wide one."""
    units = resolution.units(labels)
    if not units.any():
        return None
    varying = varying_axes(resolution.removable(labels)) or varying_axes(units)
    axis = (varying or wide_axes(units))[0]
    return Axis(axis, np.moveaxis(units, axis, 0).reshape(units.shape[axis], -1)[:, 0])
