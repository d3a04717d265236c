"""Reductions: labels along kept axes pass; a reduced axis must stay whole.

    y[i] = reduce_j x[i, j]        (https://onnx.ai/onnx/operators/, Reduce*, ArgMax, ArgMin)

A statistic over channels can lose some of them where inexact results are allowed; a position among them cannot.
A sum over the branches of a split (selective kernels: Reshape to (N, branches, C, H, W), then ReduceSum over
the branches) keeps the channel's labels, united across the branches.
"""

from __future__ import annotations

import numpy as np

from passes.channel_counts import statistic
from toolchain.graph.labels import KEPT, LabelArray, varying_axes
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
        """Hold or mix, then reshape to the output's rank."""
        rank = len(view.input_shape(0))
        axes = _reduced_axes(view, rank)
        labels = _reduced(view, axes)
        keep = view.int_attribute("keepdims", 1)
        view.assign(labels if keep else labels.reshape([s for a, s in enumerate(labels.shape) if a not in axes]))


def _reduced(view: NodeView, axes: list[int]) -> LabelArray:
    """Return the labels of what is left, the reduced axes of size 1; nothing is left of channels that are mixed."""
    reason = view.reason("it reduces over these channels")
    if view.node.op_type.startswith("Arg"):
        return view.labels.hold(view.input_labels(0), axes, reason)
    labels = statistic(view, axes, reason)
    mixed = not set(axes).isdisjoint(varying_axes(labels))
    return np.full([1] * labels.ndim, KEPT, np.int64) if mixed else labels


def _reduced_axes(view: NodeView, rank: int) -> list[int]:
    if view.node.op_type.startswith("Arg"):
        return [view.int_attribute("axis", 0) % rank]
    axes = view.axes_input(1)
    if axes:
        return sorted(axis % rank for axis in axes)
    if axes is None and view.input_name(1):
        return list(range(rank))  # computed axes: any of them may be reduced
    return [] if view.int_attribute("noop_with_empty_axes", 0) else list(range(rank))
