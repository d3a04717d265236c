"""Reductions: labels along kept axes pass; a reduced axis must stay whole.

    y[i] = reduce_j x[i, j]        (https://onnx.ai/onnx/operators/, Reduce*, ArgMax, ArgMin)

A sum over the branches of a split (selective kernels: Reshape to (N, branches, C, H, W), then ReduceSum over
the branches) keeps the channel's labels, united across the branches.
"""

from __future__ import annotations

import numpy as np

from toolchain.graph.rule import NodeView, Rule


class Reduction(Rule):
    """Hold the reduced axes, then drop them or leave them with size 1."""

    ops = frozenset(
        {
            "ArgMax",
            "ArgMin",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        }
    )

    def label(self, view: NodeView) -> None:
        """Hold, then reshape to the output's rank."""
        rank = len(view.input_shape(0))
        axes = _reduced_axes(view, rank)
        labels = view.labels.hold(view.input_labels(0), axes, view.reason("it reduces over these channels"))
        keep = view.int_attribute("keepdims", 1)
        view.assign(labels if keep else labels.reshape([s for a, s in enumerate(labels.shape) if a not in axes]))


def _reduced_axes(view: NodeView, rank: int) -> list[int]:
    if view.node.op_type.startswith("Arg"):
        return [view.int_attribute("axis", 0) % rank]
    axes = view.axes_input(1)
    if axes:
        return sorted(axis % rank for axis in axes)
    if axes is None and view.input_name(1):
        return list(range(rank))  # computed axes: any of them may be reduced
    return [] if view.int_attribute("noop_with_empty_axes", 0) else list(np.arange(rank))
