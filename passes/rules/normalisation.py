"""Normalisations with parameters per channel, and ops whose statistics or window span an axis.

1. BatchNormalization (inference) acts on each channel alone: four parameter sites.
2. InstanceNormalization takes its statistics over the axes after the channel: they are held, so that a
   GroupNorm written as Reshape-InstanceNormalization-Reshape loses whole groups or nothing.
3. Softmax, LayerNormalization, LRN, ...: the axes they mix are held; labels along other axes pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from toolchain.graph.labels import Role, along, varying_axes
from toolchain.graph.rule import NodeView, Rule

SOFTMAX_ALONG_ONE_AXIS_OPSET = 13


class PerChannelNormalisation(Rule):
    """Attach the channel's labels to scale, bias and running statistics."""

    ops = frozenset({"BatchNormalization", "InstanceNormalization"})

    def label(self, view: NodeView) -> None:
        """Label every parameter; pass the labels on."""
        parameters = range(1, len(view.inputs))
        if not all(view.is_parameter(position) for position in parameters):
            view.freeze_inputs("its parameters are computed, not stored")
            return
        if any(len(view.input_shape(position)) != 1 for position in parameters):
            view.freeze_inputs("its parameters vary along positions too")
            return
        batch = view.node.op_type == "BatchNormalization"
        why = "it normalises each channel on its own" if batch else "its statistics span these positions"
        labels = view.hold_all_but(1, why)
        for position in parameters:
            view.site(position, Role.SCALES, along(labels.reshape(-1), 0, 1))
        view.assign(labels)
        if any(view.outputs[1:]):
            view.labels.freeze(labels, view.reason("its running statistics are outputs"))

    def is_pointwise(self, view: NodeView) -> bool:
        """Say yes for BatchNormalization, whose statistics are stored."""
        return view.node.op_type == "BatchNormalization"


class Mixing(Rule):
    """Hold the axes along which an op mixes positions; pass labels along the others."""

    ops = frozenset(
        {
            "CumSum",
            "GroupNormalization",
            "Hardmax",
            "LRN",
            "LayerNormalization",
            "LogSoftmax",
            "LpNormalization",
            "MeanVarianceNormalization",
            "RMSNormalization",
            "Softmax",
        }
    )

    def label(self, view: NodeView) -> None:
        """Hold, then pass."""
        rank = len(view.input_shape(0))
        axes = [axis % rank for axis in _mixed_axes(view, rank)]
        labels = view.labels.hold(view.input_labels(0), axes, view.reason("it takes statistics across these channels"))
        for position in range(1, len(view.inputs)):
            _leave_scale(view, position, varying_axes(labels))
        view.assign(labels)
        if any(view.outputs[1:]):
            view.labels.freeze(labels, view.reason("its statistics are outputs"))


def _leave_scale(view: NodeView, position: int, varying: list[int]) -> None:
    """Record a use that no channel reaches; freeze where one does."""
    shape, rank = view.input_shape(position), len(view.input_shape(0))
    if any(size > 1 and rank - len(shape) + axis in varying for axis, size in enumerate(shape)):
        view.freeze_inputs("its scale varies along these channels")
    if view.is_parameter(position):
        view.plain_use(position)
    view.labels.freeze_tensor(view.input_name(position), view.reason("it reads channels as a scale"))


def _mixed_axes(view: NodeView, rank: int) -> Iterable[int]:
    op = view.node.op_type
    if op in ("LRN", "GroupNormalization"):
        return [1]
    if op in ("LayerNormalization", "RMSNormalization"):
        return range(view.int_attribute("axis", -1) % rank, rank)
    if op == "MeanVarianceNormalization":
        return view.ints_attribute("axes") or [0, 2, 3]
    if op == "CumSum":
        return view.axes_input(1) or range(rank)
    if op in ("Softmax", "LogSoftmax", "Hardmax") and view.index.opset < SOFTMAX_ALONG_ONE_AXIS_OPSET:
        return range(view.int_attribute("axis", 1) % rank, rank)  # older opsets flatten from `axis` on
    return [view.int_attribute("axis", -1)]
