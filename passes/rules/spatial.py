"""Ops that work on positions and leave channels alone: pooling, resizing, sampling.

y[n, c, ...] = f(x[n, c, ...])        (https://onnx.ai/onnx/operators/, *Pool, Resize, Upsample, GridSample)
"""

from __future__ import annotations

import numpy as np

from toolchain.graph.rule import Editor, NodeView, Rule


class Spatial(Rule):
    """Hold every axis but the channel's; pass the labels."""

    ops = frozenset(
        {
            "AveragePool",
            "GlobalAveragePool",
            "GlobalLpPool",
            "GlobalMaxPool",
            "GridSample",
            "LpPool",
            "MaxPool",
            "MaxRoiPool",
            "Resize",
            "RoiAlign",
            "Upsample",
        }
    )
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Pass the channel's labels to the output."""
        if view.output_shape()[1] != view.input_shape(0)[1]:
            view.freeze_inputs("it changes the number of channels")
            return
        labels = view.hold_all_but(1, "it mixes positions of a reshaped channel")
        for position in range(1, len(view.inputs)):
            view.labels.freeze_tensor(
                view.input_name(position), view.reason("it reads this as positions, not channels")
            )
        view.assign(labels)
        if any(view.outputs[1:]):
            view.labels.freeze(labels, view.reason("its indices count all channels"))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Bring the channel entry of Resize's sizes in line."""
        sizes = view.fact(3).value if view.node.op_type == "Resize" else None
        if sizes is None:
            return
        rank = len(view.input_shape(0))
        axes = np.array(view.ints_attribute("axes") or range(rank)) % rank
        editor.pin(3, np.where(axes == 1, len(editor.kept(view.outputs[0], 1)), sizes))
