"""Elementwise ops: every operand's labels are united position by position, by ONNX's broadcasting.

    y[i] = f(a[i], b[i], ...)        (https://onnx.ai/onnx/operators/, "Broadcasting in ONNX")

1. A live operand that has size 1 where the others carry labels is transparent: it broadcasts.
2. A live operand without labels where the others carry some freezes them: it cannot shrink with them.
3. A constant operand that varies along the labelled axis is a parameter site; any other constant is left alone.

f(0) need not be 0 (Sigmoid, Exp): consumers of a removed unit lose their columns too, so what the unit would
have held never matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.graph.labels import KEPT, LabelArray, Role, varying_axes
from toolchain.graph.rule import NodeView, Rule

UNARY = """Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp
Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink
Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"""

N_ARY = """Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean
Min Mod Mul Or PRelu Pow Sub Sum Where Xor"""


@dataclass(frozen=True, eq=False)
class _Operand:
    """Labels and true sizes of an operand, both brought to the output's rank."""

    labels: LabelArray
    shape: tuple[int, ...]

    def transparent_to(self, other: _Operand) -> bool:
        return not np.any(self.labels) and all(self.shape[axis] == 1 for axis in varying_axes(other.labels))

    def broadcasts_against(self, other: _Operand) -> bool:
        return any(self.shape[axis] == 1 for axis in varying_axes(other.labels))


class Elementwise(Rule):
    """Unite the labels of all operands."""

    ops = frozenset((UNARY + " " + N_ARY).split())

    def label(self, view: NodeView) -> None:
        """Merge the live operands, then lay the result along the constants."""
        rank = len(view.output_shape())
        positions = [i for i, name in enumerate(view.node.input) if name]
        result = _Operand(np.zeros([1] * rank, np.int64), (1,) * rank)
        for position in positions:
            if not view.is_parameter(position):
                result = _merge(view, result, _aligned(view, position, rank))
        for position in positions:
            if view.is_parameter(position):
                _lay_along_constant(view, position, result.labels)
        for position in range(len(view.node.output)):
            view.assign(result.labels, position)


def _aligned(view: NodeView, position: int, rank: int) -> _Operand:
    labels, shape = view.input_labels(position), view.input_shape(position)
    missing = (1,) * (rank - len(shape))
    return _Operand(labels.reshape(missing + labels.shape), missing + shape)


def _merge(view: NodeView, left: _Operand, right: _Operand) -> _Operand:
    shape = tuple(max(pair) for pair in zip(left.shape, right.shape, strict=True))
    if left.transparent_to(right):
        return _Operand(right.labels, shape)
    if right.transparent_to(left):
        return _Operand(left.labels, shape)
    if left.broadcasts_against(right) or right.broadcasts_against(left):
        reason = view.reason("its operands carry channels along different axes")
        for side in (left, right):
            view.labels.freeze(side.labels, reason)
        return _Operand(np.full([1] * len(shape), KEPT, np.int64), shape)
    view.labels.unite(
        left.labels, right.labels, view.reason("one operand cannot lose the channels of the other")
    )
    wider = max(left.labels, right.labels, key=np.size)
    return _Operand(wider, shape)


def _lay_along_constant(view: NodeView, position: int, labels: LabelArray) -> None:
    shape = view.input_shape(position)
    offset = labels.ndim - len(shape)
    varying = varying_axes(labels)
    own = [axis for axis in varying if axis >= offset and shape[axis - offset] > 1]
    if not own:
        view.plain_use(position)
        return
    others = [axis for axis in varying if axis not in own]
    held = view.labels.hold(
        labels, others, view.reason("its constant spans only some of the axes of a reshaped channel")
    )
    view.site(position, Role.SCALES, held.reshape(held.shape[offset:]))
