"""Ops that read a tensor's shape or make tensors from shapes.

Most leave no line behind: the ops that use the result as sizes write `x.shape[0]` themselves.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain.emit.torch_module.constants import torch_dtype
from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, literal, plain
from toolchain.graph.index import attribute


class ShapeArithmetic(Emitter):
    """Write shapes as tensors of whole numbers."""

    ops = frozenset({"ConstantOfShape", "EyeLike", "Range", "Shape", "Size"})

    def emit(self, view: EmitterView) -> Emitted:
        """Dispatch on the op."""
        if view.node.op_type == "Shape":
            end = "" if attribute(view.node, "end") is None else view.int_attribute("end", 0)
            window = f"[{view.int_attribute('start', 0)}:{end}]"
            return plain(f"torch.tensor({{0}}.shape{'' if window == '[0:]' else window})")
        if view.node.op_type == "Size":
            return plain("torch.tensor({0}.numel())")
        if view.node.op_type == "Range":
            bounds = ", ".join(_number(view, position) for position in range(3))
            return plain(f"torch.arange({bounds}, dtype={torch_dtype(view.sizes.dtype(view.node.output[0]))})")
        return plain(_filled(view))


def _number(view: EmitterView, position: int) -> str:
    value = view.value(position)
    return f"{{{position}}}.item()" if value is None else literal(value.reshape(-1)[0])


def _filled(view: EmitterView) -> str:
    dtype = torch_dtype(view.sizes.dtype(view.node.output[0]))
    if view.node.op_type == "EyeLike":
        if view.int_attribute("k", 0):
            raise view.error("its diagonal is not the main one")
        return f"torch.eye(*{{0}}.shape, dtype={dtype})"
    given = attribute(view.node, "value")
    fill = numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.zeros(1, np.float32)
    return f"torch.full({{0}}.tolist(), {literal(fill.reshape(-1)[0])}, dtype={dtype})"
