"""Pad, Expand and Tile: ops that make a tensor larger.

Pad     channels that a constant pad adds get fresh labels of their own: united with the other branch at the
        Add of a zero-padded shortcut, they can go, and the pad shrinks (He et al. 2016, option A)
Expand  axes of size 1 grow; they carry no labels
Tile    labels repeat, so all copies of a channel go together
(https://onnx.ai/onnx/operators/onnx__Pad.html, onnx__Expand.html, onnx__Tile.html; Pad's amounts are an
attribute before opset 11, axes come with opset 18)
"""

from __future__ import annotations

import numpy as np

from toolchain.graph.labels import varying_axes
from toolchain.graph.rule import Editor, IndexArray, NodeView, Rule

PADS_AS_INPUT_OPSET = 11


class Pad(Rule):
    """Label what a constant pad adds along a channel axis; hold the axis for the other modes."""

    ops = frozenset({"Pad"})

    def label(self, view: NodeView) -> None:
        """Pad the label tensor with fresh labels; negative pads cut it."""
        amounts = _amounts(view)
        if amounts is None:
            view.freeze_inputs("its amounts are computed from data")
            return
        labels = view.input_labels(0)
        padded = [axis for axis in range(labels.ndim) if np.any(amounts[:, axis])]
        if _mode(view) != "constant":
            view.assign(view.labels.hold(labels, padded, view.reason("it repeats channels at the border")))
            return
        channel = set(padded) & set(varying_axes(labels) or [1])
        for axis in channel:
            labels = _pad_labels(view, labels, axis, amounts[:, axis])
        view.assign(labels)

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Count the padded channels among the kept ones."""
        amounts = _amounts(view)
        if amounts is None:
            return
        shape, output = view.input_shape(0), view.outputs[0]
        renewed = amounts.copy()
        for axis in range(len(shape)):
            before, after = amounts[:, axis]
            if before > 0 or after > 0:
                kept = editor.kept(output, axis)
                renewed[0, axis] = np.count_nonzero(kept < before) if before > 0 else before
                renewed[1, axis] = np.count_nonzero(kept >= before + shape[axis]) if after > 0 else after
        _pin_amounts(view, editor, renewed)


def _pad_labels(view: NodeView, labels: np.ndarray, axis: int, amounts: IndexArray) -> np.ndarray:
    before, after = (int(item) for item in amounts)
    if before < 0 or after < 0:
        return view.labels.hold(labels, [axis], view.reason("a negative pad cuts channels off"))
    size = view.input_shape(0)[axis]
    full = np.broadcast_to(labels, [size if a == axis else s for a, s in enumerate(labels.shape)])
    shape = [1] * labels.ndim
    shape[axis] = -1
    added = (np.broadcast_to(view.labels.fresh(n).reshape(shape), _with(full.shape, axis, n)) for n in (before, after))
    head, tail = added
    return np.concatenate([head, full, tail], axis)


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _mode(view: NodeView) -> str:
    return next((item.s.decode() for item in view.node.attribute if item.name == "mode"), "constant")


def _amounts(view: NodeView) -> IndexArray | None:
    """Return the amounts as (2, rank): before and after along each axis; None when they are not known."""
    given = view.axes_input(1, "pads")
    if given is None or (view.input_name(3) and view.fact(3).value is None):
        return None
    rank = len(view.input_shape(0))
    axes = view.axes_input(3, "") or list(range(rank))
    amounts = np.zeros((2, rank), np.int64)
    amounts[:, axes] = np.array(given).reshape(2, -1)
    return amounts


def _pin_amounts(view: NodeView, editor: Editor, amounts: IndexArray) -> None:
    axes = view.axes_input(3, "") or list(range(amounts.shape[1]))
    flat = amounts[:, axes].reshape(-1)
    if view.index.opset < PADS_AS_INPUT_OPSET:
        editor.set_ints("pads", flat.tolist())
        return
    editor.pin(1, flat)


class Expand(Rule):
    """Pass the labels; an axis that grows from size 1 carries none."""

    ops = frozenset({"Expand"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Give the labels the output's rank."""
        labels = view.input_labels(0)
        view.assign(labels.reshape((1,) * (len(view.output_shape()) - labels.ndim) + labels.shape))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Put what was kept into the target shape; a target of 1 leaves the axis to the input."""
        target = view.fact(1).value
        if target is None:
            return
        offset = len(view.output_shape()) - len(target)
        counts = [len(editor.kept(view.outputs[0], offset + i)) for i in range(len(target))]
        editor.pin(1, np.where(target == 1, 1, counts).astype(np.int64))


class Tile(Rule):
    """Repeat the labels."""

    ops = frozenset({"Tile"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Tile along the axes where labels vary; elsewhere a copy has the same label anyway."""
        labels = view.input_labels(0)
        repeats = [
            after // max(before, 1) if size > 1 else 1
            for before, after, size in zip(view.input_shape(0), view.output_shape(), labels.shape, strict=True)
        ]
        view.assign(np.tile(labels, repeats))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Repeat as often as before, also where the number comes from a shape that lost channels."""
        repeats = view.fact(1).value
        if repeats is not None:
            editor.pin(1, repeats)
