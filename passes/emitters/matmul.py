"""Matrix products: nn.Linear where the right operand is stored, Python's @ where not.

Gemm    Y = alpha * A' B' + beta * C        MatMul  Y = A B        Linear  y = x W^T + b
(https://onnx.ai/onnx/operators/onnx__Gemm.html, onnx__MatMul.html)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.emit.torch_module.code import Call, keyword, positional
from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, Origin, layered, plain
from toolchain.graph.facts import Array


class Gemm(Emitter):
    """Write a linear layer; alpha and beta go into its weights."""

    ops = frozenset({"Gemm"})

    def emit(self, view: EmitterView) -> Emitted:
        """Fall back to products of what is there."""
        weight, bias = view.value(1), view.value(2)
        alpha, beta = view.float_attribute("alpha", 1.0), view.float_attribute("beta", 1.0)
        one_row = bias is None or bias.ndim < 2 or bias.shape[0] == 1
        if weight is None or view.int_attribute("transA", 0) or not one_row or (bias is None and view.has(2)):
            return plain(_product(view, alpha, beta))
        transposed = not view.int_attribute("transB", 0)
        matrix = weight.T if transposed else weight
        row = None if bias is None else np.broadcast_to(_scaled(bias, beta), (1, len(matrix)))[0]
        origins = {"weight": Origin(1, transposed, alpha), "bias": Origin(2, factor=beta)}
        return _linear(_scaled(matrix, alpha), row, origins)


def _scaled(value: Array, factor: float) -> Array:
    return np.asarray(value * np.asarray(factor, value.dtype))


def _product(view: EmitterView, alpha: float, beta: float) -> str:
    left, right = (
        ("{0}.T" if view.int_attribute("transA", 0) else "{0}"),
        ("{1}.T" if view.int_attribute("transB", 0) else "{1}"),
    )
    scaled = f"{left} @ {right}" if alpha == 1 else f"{alpha} * ({left} @ {right})"
    if not view.has(2):
        return scaled
    return f"{scaled} + {{2}}" if beta == 1 else f"{scaled} + {beta} * {{2}}"


class MatMul(Emitter):
    """Write a linear layer without a bias."""

    ops = frozenset({"MatMul"})

    def emit(self, view: EmitterView) -> Emitted:
        """Fall back to @ where the right operand is no stored matrix."""
        weight = view.value(1)
        if weight is None or weight.ndim != 2 or weight.dtype.kind != "f":
            return plain("{0} @ {1}")
        return _linear(weight.T, None, {"weight": Origin(1, transposed=True)})


def _linear(matrix: Array, bias: Array | None, origins: Mapping[str, Origin]) -> Emitted:
    outputs, inputs = matrix.shape
    sizes = (positional("in_features", inputs), positional("out_features", outputs))
    call = Call("nn.Linear", (*sizes, keyword("bias", str(bias is not None), "True")))
    tensors = {"weight": matrix} if bias is None else {"weight": matrix, "bias": bias}
    return layered("fc", call, tensors, {name: origins[name] for name in tensors if origins[name].factor != 0})
