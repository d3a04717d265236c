"""Ranges of input sizes, for engines that take more than the deployed ones: `x:1x3x224x224+mask:1x77`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from toolchain.errors import UsageError

SHAPE = re.compile(r"(?P<name>.+):(?P<sizes>\d+(x\d+)*)")
HINT = "write x:1x3x224x224, and a + between several"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """An input's smallest and largest shape, and the deployed one between them, which the engine is tuned for."""

    smallest: Shape
    deployed: Shape
    largest: Shape


def shape_ranges(model: onnx.ModelProto, smallest_text: str, largest_text: str) -> dict[str, ShapeRange]:
    """Return the ranges of the inputs that are named; a bound that is not given is the deployed size.

    `model` has fixed input sizes. Raises UsageError for what cannot be read, is no input, or excludes its own size.
    """
    smallest, largest = _parse(smallest_text), _parse(largest_text)
    deployed = {
        item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim) for item in model.graph.input
    }
    ranges = {}
    for name in dict.fromkeys((*smallest, *largest)):
        if name not in deployed:
            raise UsageError(f"the model has no input '{name}'", hint=f"inputs are {', '.join(deployed)}")
        found = ShapeRange(smallest.get(name, deployed[name]), deployed[name], largest.get(name, deployed[name]))
        _check(name, found)
        ranges[name] = found
    return ranges


def with_open_sizes(model: onnx.ModelProto, ranges: Mapping[str, ShapeRange]) -> onnx.ModelProto:
    """Return the model with a symbol in place of every input size that has a range."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    for item in opened.graph.input:
        if item.name not in ranges:
            continue
        found = ranges[item.name]
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if found.smallest[axis] != found.largest[axis]:
                dim.dim_param = f"{item.name}_{axis}"
    if ranges:
        del opened.graph.value_info[:]  # the sizes of what follows are open too
        for item in opened.graph.output:
            item.type.tensor_type.ClearField("shape")
    return opened


def _parse(text: str) -> dict[str, Shape]:
    shapes = {}
    for part in filter(None, text.split("+")):
        match = SHAPE.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"'{part}' is not the shape of an input", hint=HINT)
        shapes[match["name"]] = tuple(int(size) for size in match["sizes"].split("x"))
    return shapes


def _check(name: str, found: ShapeRange) -> None:
    for bound in (found.smallest, found.largest):
        if len(bound) != len(found.deployed):
            raise UsageError(f"input '{name}' has {len(found.deployed)} axes, not {len(bound)}", hint=HINT)
    for axis, sizes in enumerate(zip(found.smallest, found.deployed, found.largest, strict=True)):
        if not sizes[0] <= sizes[1] <= sizes[2] or not sizes[0]:
            low, size, high = sizes
            what = f"axis {axis} of input '{name}' is {size} when deployed, which is not between {low} and {high}"
            raise UsageError(what, hint="--input-shapes says how large it is when deployed")
