"""Matrix products: the contracted axis' labels end at the constant, new labels start at its other axis.

    Gemm    Y = alpha * A' B' + beta * C       A' (M, K), B' (K, N), C broadcast to (M, N)
    MatMul  Y = A B                            A (..., M, K), B (..., K, N), batched by broadcasting
    (https://onnx.ai/onnx/operators/onnx__Gemm.html, onnx__MatMul.html)

1. Labels along the contracted axis K: a consuming site of the constant; fresh labels along its free axis.
2. Labels along any other axis of the live operand pass to the output (a product over tokens, not channels). Where they
   cannot go anyway, the contracted axis gets labels of its own instead (a mixer's tokens).
3. Both operands live (attention): labels are held along K, for a removed term of the sum need not be zero; what is
   left meets as in an elementwise product of (M, 1) and (1, N). Attention heads on a batch axis are units so.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from toolchain.graph.labels import LabelArray, Role, along, spread, varying_axes
from toolchain.graph.rule import Array, NodeView, Rule


class Gemm(Rule):
    """Contract over A's channels with a constant B and, possibly, a constant bias C."""

    ops = frozenset({"Gemm"})

    def label(self, view: NodeView) -> None:
        """Label B's two axes, the bias and the output."""
        if not view.is_parameter(1) or (view.input_name(2) and not view.is_parameter(2)):
            view.freeze_inputs("its weight or bias is computed, not stored")
            return
        contracted = 0 if view.int_attribute("transA", 0) else 1
        input_axis = 1 if view.int_attribute("transB", 0) else 0
        labels = view.labels.hold(view.input_labels(0), [1 - contracted], view.reason("its rows must stay whole"))
        inputs = spread(labels, view.input_shape(0)[contracted])
        outputs = view.labels.fresh(view.input_shape(1)[1 - input_axis])
        view.site_along(1 - input_axis, 1, Role.PRODUCES, outputs)
        view.site_along(input_axis, 1, Role.CONSUMES, inputs)
        view.assign(along(outputs, 1, 2))
        if view.input_name(2):
            _label_bias(view, outputs)

    def without_input(self, view: NodeView, parameter: Callable[[str], Array]) -> Array:
        """Return the bias term."""
        weight = parameter(view.input_name(1))
        outputs = weight.shape[0 if view.int_attribute("transB", 0) else 1]
        if not view.input_name(2):
            return np.zeros((1, outputs), weight.dtype)
        beta = next((item.f for item in view.node.attribute if item.name == "beta"), 1.0)
        scaled = (beta * parameter(view.input_name(2))).astype(weight.dtype)
        return np.broadcast_to(scaled, (1, outputs)) if scaled.ndim < 2 else scaled

    def macs(self, view: NodeView) -> int:
        """M * K * N."""
        return prod(view.output_shape()) * view.input_shape(0)[0 if view.int_attribute("transA", 0) else 1]


def _label_bias(view: NodeView, outputs: LabelArray) -> None:
    shape = view.input_shape(2)
    if not shape or shape[-1] == 1:
        return
    view.site_along(len(shape) - 1, 2, Role.PRODUCES, outputs)


class MatMul(Rule):
    """Contract the live operand's channels with the constant one."""

    ops = frozenset({"MatMul"})

    def label(self, view: NodeView) -> None:
        """Dispatch on which operand is constant."""
        constants = [position for position in (0, 1) if view.is_parameter(position)]
        if len(constants) != 1 or min(len(view.input_shape(0)), len(view.input_shape(1))) < 2:
            _label_live_product(view)
            return
        _label_constant_product(view, constants[0])

    def macs(self, view: NodeView) -> int:
        """Every output element is a product over K."""
        return prod(view.output_shape()) * view.input_shape(0)[-1]


def _label_constant_product(view: NodeView, constant: int) -> None:
    live = 1 - constant
    labels, shape = view.input_labels(live), view.input_shape(live)
    contracted = len(shape) - 1 if live == 0 else len(shape) - 2
    varying = varying_axes(labels)
    if varying and contracted not in varying:
        if not view.labels.stay(labels):
            _pass(view, constant, labels, contracted)
            return
        labels = np.zeros([1] * labels.ndim, np.int64)
    others = [axis for axis in range(len(shape)) if axis != contracted]
    held = view.labels.hold(labels, others, view.reason("it contracts only one of the axes of a reshaped channel"))
    weight_shape = view.input_shape(constant)
    rank = len(weight_shape)
    consumed, produced = (rank - 2, rank - 1) if constant == 1 else (rank - 1, rank - 2)
    inputs = spread(held, weight_shape[consumed])
    outputs = view.labels.fresh(weight_shape[produced])
    view.site_along(produced, constant, Role.PRODUCES, outputs)
    view.site_along(consumed, constant, Role.CONSUMES, inputs)
    out_rank = len(view.output_shape())
    view.assign(along(outputs, out_rank - 1 if constant == 1 else out_rank - 2, out_rank))


def _has_matrix_per_channel(view: NodeView, constant: int, varying: list[int]) -> bool:
    """Tell whether labels run along a batch axis that the constant spans too."""
    offset = len(view.input_shape(1 - constant)) - len(view.input_shape(constant))
    spanned = [offset + axis for axis, size in enumerate(view.input_shape(constant)[:-2]) if size > 1]
    return any(axis in spanned for axis in varying)


def _label_live_product(view: NodeView) -> None:
    """Sum over K, then multiply A's rows (M, 1) by B's columns (1, N) with broadcasting, batch axes included."""
    shapes = view.input_shape(0), view.input_shape(1)
    if min(len(shape) for shape in shapes) < 2:
        view.freeze_inputs("it multiplies a matrix by a vector along their channels")
        return
    rank = len(view.output_shape())
    left, right = (_without_contracted(view, position, rank) for position in (0, 1))
    left, right = _over_common_axes(view, left, right), _over_common_axes(view, right, left)
    for narrow, wide, position in ((left, right, 0), (right, left, 1)):
        spanned = _spanned(shapes[position], position, rank)
        if not varying_axes(narrow) and not any(spanned[axis] for axis in varying_axes(wide)):
            view.labels.freeze(narrow, view.reason("it multiplies all channels of the other operand by this one"))
            view.assign(wide)
            return
    view.labels.unite(left, right, view.reason("one operand cannot lose the channels of the other"))
    view.assign(max(left, right, key=np.size))


def _without_contracted(view: NodeView, position: int, rank: int) -> LabelArray:
    """Hold the contracted axis: a sum of products keeps every term, for none of them need be zero."""
    labels = view.input_labels(position)
    contracted = labels.ndim - 1 - position
    held = view.labels.hold(labels, [contracted], view.reason("it sums products of two computed tensors over these"))
    return held.reshape((1,) * (rank - held.ndim) + held.shape)


def _over_common_axes(view: NodeView, labels: LabelArray, other: LabelArray) -> LabelArray:
    """Where both operands carry channels, hold the axes that only this one has them along (heads stay whole)."""
    common = varying_axes(other)
    own = [axis for axis in varying_axes(labels) if axis not in common] if common else []
    return view.labels.hold(labels, own, view.reason("its operands carry channels along different axes"))


def _spanned(shape: tuple[int, ...], position: int, rank: int) -> list[bool]:
    """Tell along which axes of the output an operand has more than one entry; the contracted axis is summed away."""
    sizes = [1] * (rank - len(shape)) + list(shape)
    sizes[rank - 1 - position] = 1
    return [size > 1 for size in sizes]


def _pass(view: NodeView, constant: int, labels: LabelArray, contracted: int) -> None:
    """Hand labels along other axes to the output, whose free axis of the other operand carries none."""
    if _has_matrix_per_channel(view, constant, varying_axes(labels)):
        view.freeze_inputs("its constant holds one matrix for each of these channels")
    rank = len(view.output_shape())
    kept = labels.take([0], contracted)
    view.assign(kept.reshape((1,) * (rank - kept.ndim) + kept.shape))
