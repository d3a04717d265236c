"""The sizes at which a network is deployed: what is timed, and what its multiply-accumulates are counted at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.errors import UsageError
from toolchain.graph.facts import anonymous_symbol
from toolchain.graph.index import GraphIndex

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

SHAPE = re.compile(r"\s*(?P<name>[^\[\]\s]+)\s*:\s*\[(?P<sizes>[\d\s,]*)\]\s*,?")


def parse_input_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """Read Polygraphy's syntax: `x:[8,3,224,224] mask:[8,1]`."""
    shapes: dict[str, tuple[int, ...]] = {}
    position = 0
    while position < len(text):
        match = SHAPE.match(text, position)
        if match is None:
            raise UsageError(
                f"--input-shapes: cannot read '{text[position:]}'",
                hint="write name:[8,3,224,224], quoted for the shell",
            )
        shapes[match["name"]] = tuple(int(size) for size in match["sizes"].split(",") if size.strip())
        if 0 in shapes[match["name"]]:
            raise UsageError(f"--input-shapes: input '{match['name']}' has an axis of size 0", hint="write 1 or more")
        position = match.end()
    return shapes


def deployment_binding(model: onnx.ModelProto, shapes: Shapes, sample: Shapes) -> dict[str, int]:
    """Give every symbolic input size a number.

    1. `shapes`, from --input-shapes. They must fit the model.
    2. The batch (axis 0): 1.
    3. Other axes: those of a data sample.

    Raises UsageError where none of these says how large an axis is, or one contradicts the model.
    """
    index = GraphIndex(model)
    unknown = set(shapes) - {item.name for item in index.inputs}
    if unknown:
        inputs = ", ".join(item.name for item in index.inputs)
        raise UsageError(f"--input-shapes: the model has no input '{min(unknown)}'", hint=f"inputs are {inputs}")
    binding: dict[str, int] = {}
    for item in index.inputs:
        _bind_input(item, shapes.get(item.name), sample.get(item.name), binding)
    return binding


def random_feeds(
    model: onnx.ModelProto, binding: Mapping[str, int], generator: np.random.Generator
) -> dict[str, Array]:
    """Make inputs where no data is given: normal floats, zeros and ones for integers."""
    feeds: dict[str, Array] = {}
    for item in GraphIndex(model).inputs:
        shape = input_shape(item, binding)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        floating = dtype.kind == "f"
        feeds[item.name] = (generator.standard_normal(shape) if floating else generator.integers(0, 2, shape)).astype(
            dtype
        )
    return feeds


def bind_model(model: onnx.ModelProto, binding: Mapping[str, int]) -> onnx.ModelProto:
    """Return the model with its symbolic input sizes fixed, for targets that need them."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {item.name for item in model.graph.initializer}
    for item in result.graph.input:
        if item.name not in constants:
            for dim, size in zip(item.type.tensor_type.shape.dim, input_shape(item, binding), strict=True):
                dim.dim_value = size
    for item in result.graph.output:
        item.type.tensor_type.ClearField("shape")
    return result


def input_shape(item: onnx.ValueInfoProto, binding: Mapping[str, int]) -> tuple[int, ...]:
    """Return an input's shape with its symbols bound."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else binding[dim.dim_param or anonymous_symbol(item.name, axis)]
        for axis, dim in enumerate(item.type.tensor_type.shape.dim)
    )


def _bind_input(
    item: onnx.ValueInfoProto,
    wanted: tuple[int, ...] | None,
    sample: tuple[int, ...] | None,
    binding: dict[str, int],
) -> None:
    dims = item.type.tensor_type.shape.dim
    if wanted is not None and len(wanted) != len(dims):
        raise UsageError(f"--input-shapes: input '{item.name}' has {len(dims)} axes, not {len(wanted)}")
    for axis, dim in enumerate(dims):
        size = wanted[axis] if wanted is not None else None
        if dim.HasField("dim_value"):
            if size not in (None, dim.dim_value):
                raise UsageError(
                    f"--input-shapes: axis {axis} of input '{item.name}' is fixed to {dim.dim_value}, not {size}"
                )
            continue
        symbol = dim.dim_param or anonymous_symbol(item.name, axis)
        if size is None and symbol not in binding:
            size = 1 if axis == 0 else (sample[axis] if sample is not None else None)
        if size is None and symbol not in binding:
            raise UsageError(
                f"axis {axis} ('{symbol}') of input '{item.name}' has no fixed size",
                hint=f'say how large it is when deployed: --input-shapes "{item.name}:[...]"',
            )
        if size is not None:
            binding[symbol] = size
