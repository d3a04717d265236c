"""Elementwise ops: PyTorch broadcasts as ONNX does.

    y[i] = f(a[i], b[i], ...)        (https://onnx.ai/onnx/operators/, "Broadcasting in ONNX")

Constants of one element are written as numbers, other constants become parameters or buffers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from toolchain.emit.torch_module.code import Call, keyword
from toolchain.emit.torch_module.constants import torch_dtype
from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, layered, literal, plain

NUMPY_BROADCASTING_OPSET = 7
CLIP_LIMITS_AS_INPUT_OPSET = 11
SELU = (1.6732632, 1.050701)

NAMED_ALIKE = """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor IsNaN Log Neg Reciprocal Round
Sigmoid Sign Sin Sinh Sqrt Tan Tanh"""

UNARY = {op: f"torch.{op.lower()}({{0}})" for op in NAMED_ALIKE.split()} | {
    "BitwiseNot": "torch.bitwise_not({0})",
    "Dropout": "{0}",
    "HardSwish": "F.hardswish({0})",
    "Identity": "{0}",
    "Mish": "F.mish({0})",
    "Not": "torch.logical_not({0})",
    "Relu": "F.relu({0})",
    "Softplus": "F.softplus({0})",
    "Softsign": "F.softsign({0})",
}

BINARY = {
    "Add": "+", "BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^", "Div": "/", "Equal": "==", "Greater": ">",
    "GreaterOrEqual": ">=", "Less": "<", "LessOrEqual": "<=", "Mul": "*", "Pow": "**", "Sub": "-",
}  # fmt: skip

LOGICAL = {"And": "torch.logical_and", "Or": "torch.logical_or", "Xor": "torch.logical_xor"}


class Unary(Emitter):
    """Write ops of one operand without options."""

    ops = frozenset(UNARY)

    def emit(self, view: EmitterView) -> Emitted:
        """Look the expression up; Dropout does nothing in inference."""
        return plain(UNARY[view.node.op_type])


class Activation(Emitter):
    """Write ops of one operand with options."""

    ops = frozenset({"Cast", "CastLike", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "IsInf", "LeakyRelu", "Selu",
                     "Shrink", "Swish", "ThresholdedRelu"})  # fmt: skip

    def emit(self, view: EmitterView) -> Emitted:
        """Dispatch on the op."""
        writers: dict[str, Callable[[EmitterView], str]] = {
            "Cast": lambda v: f"{{0}}.to({torch_dtype(v.int_attribute('to', onnx.TensorProto.FLOAT))})",
            "CastLike": lambda v: f"{{0}}.to({torch_dtype(v.sizes.dtype(v.name(1)))})",
            "Celu": lambda v: f"F.celu({{0}}, {v.float_attribute('alpha', 1.0)})",
            "Clip": _clip,
            "Elu": lambda v: f"F.elu({{0}}, {v.float_attribute('alpha', 1.0)})",
            "Gelu": lambda v: (
                'F.gelu({0}, approximate="tanh")' if v.text_attribute("approximate", "") == "tanh" else "F.gelu({0})"
            ),
            "HardSigmoid": _hard_sigmoid,
            "IsInf": _is_infinite,
            "LeakyRelu": lambda v: f"F.leaky_relu({{0}}, {v.float_attribute('alpha', 0.01)})",
            "Selu": _selu,
            "Shrink": _shrink,
            "Swish": lambda v: (
                "F.silu({0})"
                if v.float_attribute("alpha", 1.0) == 1
                else f"{{0}} * torch.sigmoid({v.float_attribute('alpha', 1.0)} * {{0}})"
            ),
            "ThresholdedRelu": lambda v: f"F.threshold({{0}}, {v.float_attribute('alpha', 1.0)}, 0.0)",
        }
        return plain(writers[view.node.op_type](view))


def _clip(view: EmitterView) -> str:
    if view.index.opset < CLIP_LIMITS_AS_INPUT_OPSET:
        low, high = view.float_attribute("min", -np.inf), view.float_attribute("max", np.inf)
        limits = ["" if np.isinf(low) else str(low), "" if np.isinf(high) else str(high)]
    else:
        limits = [_limit(view, position) for position in (1, 2)]
    if limits == ["0.0", "6.0"]:
        return "F.relu6({0})"
    named = [f"{name}={limit}" for name, limit in zip(("min", "max"), limits, strict=True) if limit]
    return f"{{0}}.clamp({', '.join(named)})" if named else "{0}"


def _limit(view: EmitterView, position: int) -> str:
    if not view.has(position):
        return ""
    value = view.value(position)
    return f"{{{position}}}" if value is None else literal(value.reshape(-1)[0])


def _hard_sigmoid(view: EmitterView) -> str:
    alpha, beta = view.float_attribute("alpha", 0.2), view.float_attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return "F.hardsigmoid({0})"
    return f"({alpha} * {{0}} + {beta}).clamp(0.0, 1.0)"


def _is_infinite(view: EmitterView) -> str:
    positive, negative = view.int_attribute("detect_positive", 1), view.int_attribute("detect_negative", 1)
    if positive and negative:
        return "torch.isinf({0})"
    if not positive and not negative:
        raise view.error("it looks for neither infinity")
    return "torch.isposinf({0})" if positive else "torch.isneginf({0})"


def _selu(view: EmitterView) -> str:
    alpha, gamma = view.float_attribute("alpha", SELU[0]), view.float_attribute("gamma", SELU[1])
    return "F.selu({0})" if np.allclose((alpha, gamma), SELU) else f"{gamma} * F.elu({{0}}, {alpha})"


def _shrink(view: EmitterView) -> str:
    threshold, bias = view.float_attribute("lambd", 0.5), view.float_attribute("bias", 0.0)
    moved = f"{{0}} - {bias} * torch.sign({{0}})" if bias else "{0}"
    return f"torch.where(torch.abs({{0}}) > {threshold}, {moved}, 0.0)"


class Arithmetic(Emitter):
    """Write ops of two operands or more."""

    ops = frozenset({*BINARY, *LOGICAL, "BitShift", "Max", "Mean", "Min", "Mod", "Sum", "Where"})

    def emit(self, view: EmitterView) -> Emitted:
        """Use Python's operators where there is one."""
        op, count = view.node.op_type, len(view.node.input)
        if count > 1 and view.index.opset < NUMPY_BROADCASTING_OPSET:
            raise view.error("before opset 7 it broadcasts by other rules")
        if op == "Div" and view.is_integer(0):
            return plain('torch.div({0}, {1}, rounding_mode="trunc")')
        if op == "Mul" and (gated := _gated(view)):
            return plain(f"F.silu({gated})")
        if op in BINARY:
            return plain(f"{view.operand(0)} {BINARY[op]} {view.operand(1)}")
        if op in LOGICAL:
            return plain(f"{LOGICAL[op]}({{0}}, {{1}})")
        return plain(_special(view, [f"{{{position}}}" for position in range(count)]))


def _gated(view: EmitterView) -> str:
    """Return the operand whose own sigmoid is the other one, as exporters write SiLU; empty where there is none."""
    for position, name in enumerate(view.node.input):
        maker = view.index.producers.get(view.node.input[1 - position])
        node = None if maker is None else view.index.nodes[maker]
        if node is not None and node.op_type == "Sigmoid" and node.input[0] == name:
            return f"{{{position}}}"
    return ""


def _special(view: EmitterView, names: list[str]) -> str:
    op = view.node.op_type
    if op in ("Max", "Min"):
        return _extremum(view, names)
    if op == "Where":
        return f"torch.where({{0}}, {view.operand(1)}, {view.operand(2)})"
    if op == "Mod":
        return f"torch.{'fmod' if view.int_attribute('fmod', 0) else 'remainder'}({{0}}, {view.operand(1)})"
    if op == "BitShift":
        return f"{{0}} {'<<' if view.text_attribute('direction', '') == 'LEFT' else '>>'} {{1}}"
    total = " + ".join(names)
    return total if op == "Sum" else f"({total}) / {len(names)}"


def _extremum(view: EmitterView, names: list[str]) -> str:
    low = view.node.op_type == "Min"
    if len(names) == 2 and view.operand(1) != "{1}":
        return f"{{0}}.clamp({'max' if low else 'min'}={view.operand(1)})"
    result = names[0]
    for name in names[1:]:
        result = f"torch.{'minimum' if low else 'maximum'}({result}, {name})"
    return result


class PRelu(Emitter):
    """Write nn.PReLU where there is one slope, or one a channel."""

    ops = frozenset({"PRelu"})

    def emit(self, view: EmitterView) -> Emitted:
        """Fall back to a choice by sign."""
        slope, rank = view.value(1), len(view.shape(0))
        per_channel = slope is not None and rank > 1 and slope.ndim < rank and slope.shape[:1] == (slope.size,)
        if slope is None or not (slope.size == 1 or (per_channel and slope.ndim == rank - 1)):
            return plain("torch.where({0} < 0, {1} * {0}, {0})")
        call = Call("nn.PReLU", (keyword("num_parameters", int(slope.size), 1),))
        return layered("prelu", call, {"weight": slope.reshape(-1)})
