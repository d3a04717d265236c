"""Slice and Gather: the labels of the positions that are read.

    Slice   y = x[start:end:step] on the given axes        Gather  y = take(x, indices, axis)
    (https://onnx.ai/onnx/operators/onnx__Slice.html, onnx__Gather.html; Slice's bounds are attributes before opset 10)

After removal, bounds and indices are counted anew among the kept positions. A step other than 1 along a
channel axis would need an index list to stay true, so the axis is held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.graph.labels import varying_axes
from toolchain.graph.rule import Editor, IndexArray, NodeView, Rule

SLICE_BOUNDS_AS_INPUT_OPSET = 10


@dataclass(frozen=True)
class _Bounds:
    """One sliced axis; `entry` is its place in the node's lists."""

    entry: int
    axis: int
    start: int
    end: int
    step: int


class Slice(Rule):
    """Slice the labels."""

    ops = frozenset({"Slice"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Take the same window of the label tensor."""
        bounds = _bounds(view)
        if bounds is None:
            view.freeze_inputs("its bounds are computed from data")
            return
        strided = [item.axis for item in bounds if item.step != 1]
        labels = view.labels.hold(view.input_labels(0), strided, view.reason("it takes every n-th channel"))
        for item in bounds:
            if labels.shape[item.axis] > 1:
                labels = labels.take(range(item.start, item.end), item.axis)
        view.assign(labels)

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Count the bounds among the kept channels."""
        starts, ends = _bound_lists(view)
        for item in _bounds(view) or []:
            kept = editor.kept(view.input_name(0), item.axis)
            if len(kept) == view.input_shape(0)[item.axis]:
                continue
            starts[item.entry] = np.searchsorted(kept, item.start)
            ends[item.entry] = np.searchsorted(kept, item.end)
        if view.index.opset < SLICE_BOUNDS_AS_INPUT_OPSET:
            editor.set_ints("starts", starts.tolist())
            editor.set_ints("ends", ends.tolist())
            return
        editor.pin(1, starts)
        editor.pin(2, ends)


def _bound_lists(view: NodeView) -> tuple[IndexArray, IndexArray]:
    if view.index.opset < SLICE_BOUNDS_AS_INPUT_OPSET:
        lists = (view.ints_attribute("starts"), view.ints_attribute("ends"))
    else:
        lists = (view.axes_input(1, ""), view.axes_input(2, ""))
    starts, ends = (np.array(item if item is not None else [], dtype=np.int64) for item in lists)
    return starts, ends


def _bounds(view: NodeView) -> list[_Bounds] | None:
    starts, ends = _bound_lists(view)
    if not len(starts) or any(view.input_name(i) and view.fact(i).value is None for i in (2, 3, 4)):
        return None
    shape = view.input_shape(0)
    axes = view.axes_input(3) or list(range(len(starts)))
    steps = view.axes_input(4, "steps") or [1] * len(starts)
    found = []
    for entry, (axis, start, end, step) in enumerate(zip(axes, starts, ends, steps, strict=True)):
        window = slice(int(start), int(end), step).indices(shape[axis])
        found.append(_Bounds(entry, axis % len(shape), *window))
    return found


class Gather(Rule):
    """Take the labels at constant indices."""

    ops = frozenset({"Gather"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Index the label tensor; indices that are not known hold the axis."""
        labels = view.input_labels(0)
        axis = view.int_attribute("axis", 0) % labels.ndim
        indices = view.fact(1).value
        view.labels.freeze_tensor(view.input_name(1), view.reason("its indices carry channels"))
        if indices is None or axis not in varying_axes(labels):
            labels = view.labels.hold(labels, [axis], view.reason("it gathers channels by computed indices"))
            shape = labels.shape[:axis] + (1,) * len(view.input_shape(1)) + labels.shape[axis + 1 :]
            view.assign(labels.reshape(shape))
            return
        view.assign(np.take(labels, indices.astype(np.int64), axis))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Renumber the indices of the kept channels."""
        rank, axis = len(view.input_shape(0)), view.int_attribute("axis", 0)
        kept = editor.kept(view.input_name(0), axis % rank)
        size, indices = view.input_shape(0)[axis % rank], view.fact(1).value
        if indices is None or len(kept) == size:
            return
        wanted = indices.astype(np.int64) % size
        for i in range(indices.ndim):
            wanted = wanted.take(editor.kept(view.outputs[0], axis % rank + i), i)
        editor.pin(1, np.searchsorted(kept, wanted).astype(indices.dtype))
