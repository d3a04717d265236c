"""Convolutions: nn.Conv and nn.ConvTranspose where the weights are stored, their functional forms where not.

    ONNX pads may differ before and after an axis, PyTorch's may not: the rest goes into an F.pad (which also crops).
    (https://onnx.ai/onnx/operators/onnx__Conv.html, onnx__ConvTranspose.html)

A stored bias that no BatchNorm follows is a folded BatchNorm's, by all that can be known of it: it comes back with

    mean 0, variance 1 - e, weight 1      y = (x - 0) / sqrt(1 - e + e) * 1 + bias

The last layers before the outputs are left alone: a head has a bias of its own.
"""

from __future__ import annotations

import numpy as np

from toolchain.emit.torch_module.code import Argument, Call, keyword, positional
from toolchain.emit.torch_module.emitter import (
    Emitted,
    Emitter,
    EmitterView,
    Layer,
    Origin,
    layered,
    plain,
    same_or_tuple,
)
from toolchain.emit.torch_module.padding import pad_call, pads_of
from toolchain.graph.facts import Array

EPSILON = 1e-5
CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class Convolution(Emitter):
    """Write a layer, with BatchNorm behind it where one was folded."""

    ops = frozenset({"Conv", "ConvTranspose"})

    def emit(self, view: EmitterView) -> Emitted:
        """Choose the dimension, split the padding, name the layers."""
        spatial = len(view.shape(1)) - 2
        if not 1 <= spatial <= 3:
            raise view.error(f"it has {spatial} spatial axes")
        transposed = view.node.op_type == "ConvTranspose"
        before, after = pads_of(view)
        symmetric = before == after
        inner = "{0}" if symmetric or transposed else pad_call("{0}", before, after)
        options = _options(view, before if symmetric else [0] * spatial, transposed)
        weight, bias = view.value(1), view.value(2)
        if weight is None or (bias is None and view.has(2)):
            result = _functional(view, inner, options)
        else:
            result = _layers(view, inner, options, weight, bias)
        if symmetric or not transposed:
            return result
        return Emitted(pad_call(result.expression, [-p for p in before], [-p for p in after]), result.layers)


def _options(view: EmitterView, padding: list[int], transposed: bool) -> list[Argument]:
    spatial = len(padding)
    if view.ints_attribute("output_shape"):
        raise view.error("it states its output_shape")
    strides, dilations = (
        view.ints_attribute("strides") or [1] * spatial,
        view.ints_attribute("dilations") or [1] * spatial,
    )
    options = [
        keyword("stride", same_or_tuple(strides), 1),
        keyword("padding", same_or_tuple(padding), 0),
        keyword("dilation", same_or_tuple(dilations), 1),
        keyword("groups", view.int_attribute("group", 1), 1),
    ]
    if transposed:
        extra = view.ints_attribute("output_padding") or [0] * spatial
        options.insert(2, keyword("output_padding", same_or_tuple(extra), 0))
    return options


def _layers(view: EmitterView, inner: str, options: list[Argument], weight: Array, bias: Array | None) -> Emitted:
    spatial, groups = weight.ndim - 2, view.int_attribute("group", 1)
    transposed = view.node.op_type == "ConvTranspose"
    channels = (weight.shape[0], weight.shape[1] * groups)
    inputs, outputs = channels if transposed else channels[::-1]
    foldable = view.batchnorm and not (transposed and groups > 1)  # whose output channels lie along two axes
    normalised = bias is not None and foldable and not (_has_batchnorm_of_its_own(view) or _is_head(view))
    call = Call(
        f"nn.Conv{'Transpose' if transposed else ''}{spatial}d",
        (
            positional("in_channels", inputs),
            positional("out_channels", outputs),
            positional("kernel_size", same_or_tuple(weight.shape[2:])),
            *options,
            keyword("bias", str(bias is not None and not normalised), "True"),
        ),
    )
    if bias is None or not normalised:
        tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return layered("conv", call, tensors, expression=f"{{layer}}({inner})")
    norm = Call(f"nn.BatchNorm{spatial}d", (positional("num_features", outputs),))
    layers = {
        "layer": Layer("conv", call, {"weight": weight}, {"weight": Origin(1, axis=int(transposed))}),
        "bn": Layer("bn", norm, neutral_statistics(bias), {"bias": Origin(2)}),
    }
    return Emitted(f"{{bn}}({{layer}}({inner}))", layers)


def neutral_statistics(bias: Array) -> dict[str, Array]:
    """Return the state of a BatchNorm that adds `bias` and does nothing else."""
    ones = np.ones_like(bias)
    return {
        "weight": ones,
        "bias": bias,
        "running_mean": np.zeros_like(bias),
        "running_var": ones - np.asarray(EPSILON, bias.dtype),
        "num_batches_tracked": np.asarray(0, np.int64),
    }


def _has_batchnorm_of_its_own(view: EmitterView) -> bool:
    uses = view.index.uses[view.node.output[0]]
    return "BatchNormalization" in {view.index.nodes[use.node_index].op_type for use in uses}


def _is_head(view: EmitterView) -> bool:
    """Tell whether no other layer follows."""
    pending, seen = [view.node.output[0]], set[int]()
    while pending:
        for use in view.index.uses[pending.pop()]:
            node = view.index.nodes[use.node_index]
            if node.op_type in CONTRACTIONS:
                return False
            if use.node_index not in seen:
                seen.add(use.node_index)
                pending.extend(node.output)
    return True


def _functional(view: EmitterView, inner: str, options: list[Argument]) -> Emitted:
    transposed = "_transpose" if view.node.op_type == "ConvTranspose" else ""
    operands = [inner, "{1}", *(["{2}"] if view.has(2) else [])]
    arguments = (*(positional("", item) for item in operands), *options)
    return plain(str(Call(f"F.conv{transposed}{len(view.shape(1)) - 2}d", arguments)))
