"""Ops that change the axes of a tensor and keep the order or the set of its elements.

    Reshape, Flatten    same elements in the same order, other axes
    Squeeze, Unsqueeze  axes of size 1 go or come
    Transpose           axes in another order
    (https://onnx.ai/onnx/operators/onnx__Reshape.html and its neighbours)

A Reshape is cut into the smallest blocks of axes with equal products, and labels are laid out in full only in
blocks where they vary: flattening (2, 256, 7, 7) to (2, 12544) costs 12,544 labels, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from toolchain.graph.labels import LabelArray
from toolchain.graph.rule import Editor, NodeView, Rule

AXES_AS_INPUT_OPSET = 13


class Reshape(Rule):
    """Lay the labels out along the new axes."""

    ops = frozenset({"Flatten", "Reshape"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Reshape the label tensor."""
        view.assign(reshape_labels(view.input_labels(0), view.input_shape(0), view.output_shape()))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Put what was kept along each axis into the target shape; -1, and 0 where it still holds, stay."""
        target = view.fact(1).value if view.node.op_type == "Reshape" else None
        if target is None:
            return
        source, output = view.input_name(0), view.outputs[0]
        zero_copies = not view.int_attribute("allowzero", 0)
        renewed = np.array(target, dtype=np.int64)
        for axis, size in enumerate(target):
            count = len(editor.kept(output, axis))
            copied = size == 0 and zero_copies and len(editor.kept(source, axis)) == count
            if size != -1 and not copied:
                renewed[axis] = count
        editor.pin(1, renewed)


class Transpose(Rule):
    """Permute the label tensor's axes."""

    ops = frozenset({"Transpose"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Transpose, by default to reverse order."""
        labels = view.input_labels(0)
        view.assign(labels.transpose(view.ints_attribute("perm") or range(labels.ndim)[::-1]))


class AxesOfSizeOne(Rule):
    """Drop or insert axes of size 1."""

    ops = frozenset({"Squeeze", "Unsqueeze"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Give the label tensor the output's rank."""
        labels = view.input_labels(0)
        if view.node.op_type == "Unsqueeze":
            rank = len(view.output_shape())
            axes = view.axes_input(1) or []
            view.assign(np.expand_dims(labels, tuple(sorted(axis % rank for axis in axes))))
            return
        dropped = _dropped_axes(view)
        view.assign(labels.reshape([size for axis, size in enumerate(labels.shape) if axis not in dropped]))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Name the axes of a Squeeze that would also drop a channel axis of which one channel is left."""
        if view.node.op_type == "Unsqueeze" or view.axes_input(1) is not None:
            return
        dropped = _dropped_axes(view)
        sizes = [len(editor.kept(view.input_name(0), axis)) for axis in range(len(view.input_shape(0)))]
        if sizes.count(1) == len(dropped):
            return
        if view.index.opset < AXES_AS_INPUT_OPSET:
            editor.set_ints("axes", dropped)
            return
        editor.pin(1, dropped)


def _dropped_axes(view: NodeView) -> list[int]:
    axes, shape = view.axes_input(1), view.input_shape(0)
    return [a for a, s in enumerate(shape) if s == 1] if axes is None else [a % len(shape) for a in axes]


def reshape_labels(labels: LabelArray, before: Sequence[int], after: Sequence[int]) -> LabelArray:
    """Reshape a label tensor from the axes `before` to the axes `after`."""
    if 0 in before:
        return np.zeros([1] * len(after), np.int64)
    if labels.size == 1:
        return labels.reshape([1] * len(after))
    expanded, result = [], []
    for old, new in _blocks(before, after):
        varies = any(labels.shape[axis] > 1 for axis in old)
        expanded += [before[axis] if varies else 1 for axis in old]
        result += [after[axis] if varies else 1 for axis in new]
    return np.broadcast_to(labels, expanded).reshape(result)


def _blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[range, range]]:
    """Yield the smallest runs of old and new axes whose sizes have equal products."""
    i = j = 0
    while i < len(before) or j < len(after):
        first_old, first_new = i, j
        left, right = prod(before[i : i + 1]), prod(after[j : j + 1])
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        yield range(first_old, i), range(first_new, j)
