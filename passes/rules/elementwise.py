"""Elementwise ops: every operand's labels are united position by position, by ONNX's broadcasting.

    y[i] = f(a[i], b[i], ...)        (https://onnx.ai/onnx/operators/, "Broadcasting in ONNX")

1. A live operand that has size 1 where the others carry labels broadcasts; a unit it may carry itself (a mask
   of one channel) reaches all of theirs and is frozen.
2. A live operand without labels where the others carry some freezes them: it cannot shrink with them.
3. A constant operand that varies along the labelled axis is a parameter site; any other constant is left alone.

Unary ops read channels from their first operand alone (Clip's limits, Dropout's ratio, CastLike's type are none).
Before opset 7 broadcasting was an attribute; such nodes freeze.

f(0) need not be 0 (Sigmoid, Exp): consumers of a removed unit lose their columns too, so what the unit would
have held never matters.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import NamedTuple

import numpy as np

from toolchain.graph.labels import KEPT, LabelArray, Role, varying_axes
from toolchain.graph.rule import NodeView, Rule

UNARY_NAMES = """
Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp
Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink
Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"""

N_ARY_NAMES = """
Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean
Min Mod Mul Or PRelu Pow Sub Sum Where Xor"""

UNARY = frozenset(UNARY_NAMES.split())
N_ARY = frozenset(N_ARY_NAMES.split())


NUMPY_BROADCASTING_OPSET = 7


class _Operand(NamedTuple):
    """Labels and true sizes of an operand, both brought to the output's rank."""

    labels: LabelArray
    shape: tuple[int, ...]

    @property
    def varying(self) -> list[int]:
        return varying_axes(self.labels)

    def broadcasts_to(self, other: _Operand) -> bool:
        uniform = not self.varying and (bool(other.varying) or not self.labels.any())
        return uniform and all(self.shape[axis] == 1 for axis in other.varying)

    def broadcasts_against(self, other: _Operand) -> bool:
        return any(self.shape[axis] == 1 for axis in other.varying)


class Unary(Rule):
    """Pass the labels of the first operand."""

    ops = UNARY
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Pass."""
        view.pass_on(0)

    def is_pointwise(self, view: NodeView) -> bool:  # noqa: ARG002
        """Say yes."""
        return True


class Elementwise(Rule):
    """Unite the labels of all operands."""

    ops = N_ARY
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Merge the live operands, then lay the result along the constants."""
        rank = len(view.output_shape())
        if view.index.opset < NUMPY_BROADCASTING_OPSET and len(view.inputs) > 1:
            view.freeze_inputs("before opset 7 it broadcasts by other rules")
            return
        constants = view.index.constants
        live = [number for number, name in enumerate(view.inputs) if name and name not in constants]
        labels = reduce(partial(_merge, view), [_aligned(view, position, rank) for position in live]).labels
        for position, name in enumerate(view.inputs):
            if name in constants:
                lay_along_constant(view, position, labels)
        view.assign(labels)

    def is_pointwise(self, view: NodeView) -> bool:  # noqa: ARG002
        """Say yes."""
        return True


def _aligned(view: NodeView, position: int, rank: int) -> _Operand:
    labels, shape = view.input_labels(position), view.input_shape(position)
    if len(shape) == rank:
        return _Operand(labels, shape)
    missing = (1,) * (rank - len(shape))
    return _Operand(labels.reshape(missing + labels.shape), missing + shape)


def _merge(view: NodeView, left: _Operand, right: _Operand) -> _Operand:
    if left.labels is right.labels and left.shape == right.shape:
        return left
    why = "one operand cannot lose the channels of the other"
    shape = tuple(map(max, left.shape, right.shape))
    alike = left.shape == right.shape or left.labels.shape == right.labels.shape
    if alike and left.labels.size > 1 and right.labels.size > 1:  # nearly always
        view.labels.unite(left.labels, right.labels, view.reason(why))
        return _Operand(max(left.labels, right.labels, key=np.size), shape)
    for narrow, wide in ((left, right), (right, left)):
        if narrow.broadcasts_to(wide):
            view.labels.freeze(narrow.labels, view.reason("it broadcasts this channel to all others"))
            return _Operand(wide.labels, shape)
    if left.broadcasts_against(right) or right.broadcasts_against(left):
        reason = view.reason("its operands carry channels along different axes")
        for side in (left, right):
            view.labels.freeze(side.labels, reason)
        return _Operand(np.full([1] * len(shape), KEPT, np.int64), shape)
    view.labels.unite(left.labels, right.labels, view.reason(why))
    return _Operand(max(left.labels, right.labels, key=np.size), shape)


def lay_along_constant(view: NodeView, position: int, labels: LabelArray) -> None:
    """Make a constant that broadcasts to these labels a parameter site, where any of them reaches it."""
    shape = view.input_shape(position)
    if labels.size == 1 or shape.count(1) == len(shape):
        return
    offset = labels.ndim - len(shape)
    varying = varying_axes(labels)
    own = [axis for axis in varying if axis >= offset and shape[axis - offset] > 1]
    if not own:
        return
    others = [axis for axis in varying if axis not in own]
    held = view.labels.hold(
        labels, others, view.reason("its constant spans only some of the axes of a reshaped channel")
    )
    view.site(position, Role.SCALES, held.reshape(held.shape[offset:]))
