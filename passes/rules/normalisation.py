"""Normalisations with parameters per channel, and ops whose statistics or window span an axis.

1. BatchNormalization (inference) acts on each channel alone: four parameter sites.
2. InstanceNormalization takes its statistics over the axes after the channel: a GroupNorm written as
   Reshape-InstanceNormalization-Reshape loses whole groups, or with one group is inexact.
3. GroupNormalization: likewise.
4. Softmax, LayerNormalization, LRN, ...: labels along the axes they mix can go where inexact results are allowed;
   labels along other axes pass.
5. CumSum, Hardmax: positions along their axis mean something.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from passes.channel_counts import statistic
from passes.rules.elementwise import lay_along_constant
from toolchain.graph.labels import LabelArray, Reason, Role, along, varying_axes
from toolchain.graph.rule import Editor, NodeView, Rule

SOFTMAX_ALONG_ONE_AXIS_OPSET = 13

ACROSS_CHANNELS = "it takes statistics across these channels"

STATISTICAL_NAMES = """
LRN LayerNormalization LogSoftmax LpNormalization MeanVarianceNormalization RMSNormalization Softmax"""
STATISTICAL = frozenset(STATISTICAL_NAMES.split())
POSITIONAL = frozenset({"CumSum", "Hardmax"})


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
        labels = self._spread(view)
        for position in parameters:
            if varying_axes(labels) in ([], [1]):
                view.site(position, Role.SCALES, along(labels.reshape(-1), 0, 1))
        view.assign(labels)
        if any(view.outputs[1:]):
            view.labels.freeze(labels, view.reason("its running statistics are outputs"))

    def _spread(self, view: NodeView) -> LabelArray:
        """Return the labels of the input, the axes that it takes statistics over held or mixed."""
        if view.node.op_type == "BatchNormalization":
            return view.hold_all_but(1, "it normalises each channel on its own")
        labels = view.input_labels(0)
        positions = [axis for axis in range(labels.ndim) if axis != 1]
        return view.labels.mix(labels, positions, view.reason("its statistics span these positions"))

    def is_pointwise(self, view: NodeView) -> bool:
        """Say yes for BatchNormalization, whose statistics are stored."""
        return view.node.op_type == "BatchNormalization"


class GroupNormalisation(Rule):
    """Unite the channels of each group, so that whole groups go; the channels of a single group are mixed."""

    ops = frozenset({"GroupNormalization"})

    def label(self, view: NodeView) -> None:
        """Unite or mix, then label scale and bias."""
        if not all(view.is_parameter(position) for position in (1, 2)):
            view.freeze_inputs("its parameters are computed, not stored")
            return
        groups = view.int_attribute("num_groups", 1)
        labels = view.hold_all_but(1, "its statistics span these positions")
        rows = np.broadcast_to(labels.reshape(-1), view.input_shape(0)[1:2]).reshape(groups, -1)
        if groups > 1:
            view.labels.unite(rows, rows[:, :1], view.reason("it takes statistics across the channels of a group"))
        else:
            view.labels.mix(labels, [1], view.reason(ACROSS_CHANNELS))
        for position in (1, 2):
            view.site(position, Role.SCALES, along(labels.reshape(-1), 0, 1))
        view.assign(labels)

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Count the groups that are left."""
        groups = view.int_attribute("num_groups", 1)
        kept = len(editor.kept(view.inputs[0], 1))
        if groups > 1:
            editor.set_int("num_groups", kept * groups // view.input_shape(0)[1])


class Mixing(Rule):
    """Mix the axes that an op takes statistics over, hold those whose positions count; pass labels along the others."""

    ops = STATISTICAL | POSITIONAL

    def label(self, view: NodeView) -> None:
        """Hold or mix, then pass."""
        rank = len(view.input_shape(0))
        axes = [axis % rank for axis in _mixed_axes(view, rank)]
        labels = _mixed(view, axes, view.reason(ACROSS_CHANNELS))
        for position in range(1, len(view.inputs)):
            _label_scale(view, position, labels, axes)
        view.assign(labels)
        if any(view.outputs[1:]):
            view.labels.freeze(labels, view.reason("its statistics are outputs"))


def _mixed(view: NodeView, axes: list[int], reason: Reason) -> LabelArray:
    if view.node.op_type in POSITIONAL:
        return view.labels.hold(view.input_labels(0), axes, reason)
    if view.node.op_type == "LpNormalization":
        return statistic(view, axes, reason)
    return view.labels.mix(view.input_labels(0), axes, reason)


def _label_scale(view: NodeView, position: int, labels: LabelArray, axes: list[int]) -> None:
    """Cut a stored scale with the channels that are mixed; freeze where any other one reaches these channels."""
    shape, rank = view.input_shape(position), len(view.input_shape(0))
    offset = rank - len(shape)
    reached = [axis for axis in varying_axes(labels) if axis >= offset and shape[axis - offset] > 1]
    if view.is_parameter(position) and set(axes).issuperset(reached):
        lay_along_constant(view, position, labels)
        return
    if reached:
        view.freeze_inputs("its scale varies along these channels")
    view.labels.freeze_tensor(view.input_name(position), view.reason("it reads channels as a scale"))


def _mixed_axes(view: NodeView, rank: int) -> Iterable[int]:
    op = view.node.op_type
    if op == "LRN":
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
