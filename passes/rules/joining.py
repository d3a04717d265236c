"""Concat and Split: labels are joined and cut along the axis, exactly as the values are.

    Concat  y = [a; b; ...] along `axis`        Split  a, b, ... = x cut along `axis`
    (https://onnx.ai/onnx/operators/onnx__Concat.html, onnx__Split.html; Split's sizes are an attribute before
    opset 13, an input since; opset 18 adds num_outputs)

Labels along other axes belong to all parts alike: a detection head that joins its levels along positions
unites their channels.
"""

from __future__ import annotations

import numpy as np

from toolchain.graph.labels import spread, varying_axes
from toolchain.graph.rule import Editor, NodeView, Rule

SPLIT_SIZES_AS_INPUT_OPSET = 13


class Concat(Rule):
    """Join the labels along the axis."""

    ops = frozenset({"Concat"})
    only_carries = True
    drops_empty_inputs = True

    def label(self, view: NodeView) -> None:
        """Concatenate; where channels run along another axis, unite the parts instead."""
        rank = len(view.output_shape())
        axis = view.int_attribute("axis", 1) % rank
        parts = [(view.input_labels(i), view.input_shape(i)) for i in range(len(view.inputs))]
        if any(labels.size > labels.shape[axis] and set(varying_axes(labels)) - {axis} for labels, _ in parts):
            self._label_across(view, axis)
            return
        vectors = [spread(labels, shape[axis]) for labels, shape in parts]
        joined = np.concatenate(vectors)
        view.assign(joined.reshape([-1 if a == axis else 1 for a in range(rank)]))

    def _label_across(self, view: NodeView, axis: int) -> None:
        reason = view.reason("it joins parts along another axis than their channels'")
        parts = [view.labels.hold(view.input_labels(i), [axis], reason) for i in range(len(view.inputs))]
        widest = max(parts, key=np.size)
        for labels in parts:
            view.labels.unite(widest, labels, reason)
        view.assign(widest)


class Split(Rule):
    """Cut the labels along the axis."""

    ops = frozenset({"Split"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Give each output its part."""
        labels = view.input_labels(0)
        axis = view.int_attribute("axis", 0) % labels.ndim
        whole, end = labels.shape[axis] == 1, 0
        for position in range(len(view.outputs)):
            start, end = end, end + view.output_shape(position)[axis]
            view.assign(labels if whole else labels[(slice(None),) * axis + (slice(start, end),)], position)

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """State the size of every part, unless equal parts are still equal."""
        axis = view.int_attribute("axis", 0) % len(view.input_shape(0))
        sizes = [len(editor.kept(name, axis)) for name in view.outputs]
        stated = view.ints_attribute("split") is not None or bool(view.input_name(1))
        if not stated and len(set(sizes)) == 1:
            return
        if view.index.opset < SPLIT_SIZES_AS_INPUT_OPSET:
            editor.set_ints("split", sizes)
            return
        editor.drop_attribute("num_outputs")
        editor.pin(1, np.array(sizes, dtype=np.int64))
