"""Convolutions: the input's labels end at the weight's input axis, new labels start at its output axis.

    y[m] = b[m] + sum_c  W[m, c] * x[c]                 Conv           W (M, C/g, k...)
    y[m] = b[m] + sum_c  W[c, m] * x[c]                 ConvTranspose  W (C, M/g, k...)
    (https://onnx.ai/onnx/operators/onnx__Conv.html, onnx__ConvTranspose.html)

1. g = 1: labels of x on the input axis, fresh labels on the output axis and the bias.
2. depthwise, one input channel a group: the output's labels are the input's, repeated M/g times.
3. grouped: the i-th channel of every group is one unit, on both sides, so that groups stay equal.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from toolchain.errors import ModelError
from toolchain.graph.labels import LabelArray, Role, along, spread
from toolchain.graph.rule import Array, Editor, NodeView, Rule


class Convolution(Rule):
    """Attach the input's labels to the weight, start new ones at its outputs."""

    ops = frozenset({"Conv", "ConvTranspose"})

    def label(self, view: NodeView) -> None:
        """Label weight, bias and output."""
        biased = bool(view.input_name(2))
        if not view.is_parameter(1) or (biased and not view.is_parameter(2)):
            view.freeze_inputs("its weight or bias is computed, not stored")
            return
        groups, output = _groups(view), view.output_shape()
        taken, made = view.input_shape(0)[1], output[1]
        _check_channels(view, groups, taken, made)
        inputs = spread(view.hold_all_but(1, "it convolves along these channels"), taken)
        depthwise = groups == taken > 1
        outputs = _label_depthwise(view, inputs, made) if depthwise else _label_grouped(view, inputs, made, groups)
        if biased:
            view.site(2, Role.SCALES if depthwise else Role.PRODUCES, outputs)
        view.assign(along(outputs, 1, len(output)))

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Keep one group a channel in a depthwise convolution."""
        if _is_depthwise(view):
            editor.set_int("group", len(editor.kept(view.input_name(0), 1)))

    def without_input(self, view: NodeView, parameter: Callable[[str], Array]) -> Array:
        """Return the bias: padding included, an empty sum is 0 everywhere."""
        channels = parameter(view.input_name(1)).shape
        count = channels[1] * _groups(view) if view.node.op_type == "ConvTranspose" else channels[0]
        bias = (
            parameter(view.input_name(2))
            if view.input_name(2)
            else np.zeros(count, parameter(view.input_name(1)).dtype)
        )
        return bias.reshape([1, -1, *[1] * (len(view.output_shape()) - 2)])

    def macs(self, view: NodeView) -> int:
        """Every output position (input position when transposed) meets one filter slice for each channel."""
        transposed = view.node.op_type == "ConvTranspose"
        positions = view.input_shape(0) if transposed else view.output_shape()
        return prod(positions) * prod(view.input_shape(1)[1:])


def _check_channels(view: NodeView, groups: int, taken: int, made: int) -> None:
    """Hold the weight against the input: neither the checker nor shape inference does."""
    weight = view.input_shape(1)
    expected = weight[0] if view.op == "ConvTranspose" else weight[1] * groups
    if groups < 1 or taken != expected or taken % groups or made % groups:
        what = f"its weight {list(weight)} with {groups} groups"
        raise ModelError(f"{view.where}: {what} does not fit {taken} input channels", hint="export it again")


def _groups(view: NodeView) -> int:
    return view.int_attribute("group", 1)


def _is_depthwise(view: NodeView) -> bool:
    return _groups(view) > 1 and _groups(view) == view.input_shape(0)[1]


def _label_depthwise(view: NodeView, inputs: LabelArray, made: int) -> LabelArray:
    """Label the weight, and return the labels of the output."""
    outputs = inputs if made == len(inputs) else np.repeat(inputs, made // len(inputs))
    view.site_along(0, 1, Role.SCALES, inputs if view.op == "ConvTranspose" else outputs)
    return outputs


def _label_grouped(view: NodeView, inputs: LabelArray, made: int, groups: int) -> LabelArray:
    """Label the weight, whose axis that spans one group has the first one's labels; return those of the output."""
    outputs = one_made = view.labels.fresh(made // groups)
    one_taken = inputs
    if groups > 1:
        one_taken = inputs[: len(inputs) // groups]
        reason = view.reason("its groups must stay equal in size")
        view.labels.unite(inputs, np.concatenate([one_taken] * groups), reason)
        outputs = np.concatenate([one_made] * groups)
    if view.op == "ConvTranspose":
        view.site_along(0, 1, Role.CONSUMES, inputs)
        view.site_along(1, 1, Role.PRODUCES, one_made)
    else:
        view.site_along(0, 1, Role.PRODUCES, outputs)
        view.site_along(1, 1, Role.CONSUMES, one_taken)
    return outputs
