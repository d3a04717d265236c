"""The mask oracle for a model whose weights were repaired after pruning.

    embedded = the source graph, nodes untouched, its kept slices replaced by the shipped values
    shipped(x) == masked(embedded)(x)

Where nothing was repaired, the embedded model is the source itself, and this is the plain mask oracle.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain.graph.normalise import copy_model
from toolchain.graph.oracle import Execute, Feeds, Verdict, compare_with_masked
from toolchain.graph.surgery import KeptAxes


def compare_shipped(
    source: onnx.ModelProto,
    shipped: onnx.ModelProto,
    kept: Mapping[str, KeptAxes],
    feeds: Feeds,
    execute: Execute,
    *,
    inexact: bool = False,
) -> Verdict:
    """Run the shipped model and the masked source that holds its values."""
    return compare_with_masked(embedded(source, shipped, kept), shipped, kept, feeds, execute, inexact=inexact)


def embedded(source: onnx.ModelProto, shipped: onnx.ModelProto, kept: Mapping[str, KeptAxes]) -> onnx.ModelProto:
    """Return the source with the shipped values in the kept positions; a parameter that does not fit stays."""
    values = {tensor.name: tensor for tensor in shipped.graph.initializer}
    result = copy_model(source)
    for tensor in result.graph.initializer:
        if tensor.name in values:
            _embed(tensor, values[tensor.name], kept.get(tensor.name, {}))
    return result


def _embed(tensor: onnx.TensorProto, shipped: onnx.TensorProto, axes: KeptAxes) -> None:
    array, values = numpy_helper.to_array(tensor).copy(), numpy_helper.to_array(shipped)
    positions = [axes.get(axis, np.arange(size)) for axis, size in enumerate(array.shape)]
    if values.dtype != array.dtype or values.shape != tuple(len(item) for item in positions):
        return
    array[np.ix_(*positions)] = values
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
