"""Normalisations: layers where their parameters are stored; Softmax and its like as functions.

(https://onnx.ai/onnx/operators/, BatchNormalization and its neighbours; ONNX's momentum m is PyTorch's 1 - m;
before opset 21 GroupNormalization had one scale a group; before opset 13 Softmax flattened from its axis on)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.emit.torch_module.code import Argument, Call, keyword, positional
from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, Origin, layered, plain
from toolchain.graph.facts import Array

SOFTMAX_ALONG_ONE_AXIS_OPSET = 13
PER_CHANNEL_GROUP_NORM_OPSET = 21
TORCH_EPSILON = 1e-5


def _epsilon(view: EmitterView, default: float = TORCH_EPSILON) -> Argument:
    return keyword("eps", str(view.float_attribute("epsilon", TORCH_EPSILON)), str(default))


def _stored(view: EmitterView, *positions: int) -> list[Array]:
    values = [view.value(position) for position in positions]
    if any(value is None for value in values):
        raise view.error("its parameters are computed, not stored")
    return [value for value in values if value is not None]


class BatchNormalization(Emitter):
    """Write nn.BatchNorm."""

    ops = frozenset({"BatchNormalization"})

    def emit(self, view: EmitterView) -> Emitted:
        """Take the statistics along."""
        rank = len(view.shape(0))
        if rank > 5:
            raise view.error(f"it has {rank} axes")
        epsilon = view.float_attribute("epsilon", TORCH_EPSILON)
        if view.int_attribute("training_mode", 0):  # statistics of what it is given: standardised weights
            return plain(f"F.batch_norm({{0}}, None, None, {{1}}, {{2}}, training=True, eps={epsilon})")
        if any(view.value(position) is None for position in (1, 2, 3, 4)):
            return plain(f"F.batch_norm({{0}}, {{3}}, {{4}}, {{1}}, {{2}}, eps={epsilon})")
        scale, bias, mean, variance = _stored(view, 1, 2, 3, 4)
        if scale.ndim != 1:
            raise view.error("its parameters vary along positions too")
        momentum = round(1 - view.float_attribute("momentum", 0.9), 6)
        options = (positional("num_features", len(scale)), _epsilon(view), keyword("momentum", str(momentum), "0.1"))
        state = {"weight": scale, "bias": bias, "running_mean": mean, "running_var": variance}
        call = Call(f"nn.BatchNorm{max(rank - 2, 1)}d", options)
        origins = {name: Origin(position) for position, name in enumerate(state, 1)}
        return layered("bn", call, {**state, "num_batches_tracked": np.asarray(0, np.int64)}, origins)


class InstanceNormalization(Emitter):
    """Write nn.InstanceNorm."""

    ops = frozenset({"InstanceNormalization"})

    def emit(self, view: EmitterView) -> Emitted:
        """Take scale and bias along."""
        rank = len(view.shape(0))
        if not 3 <= rank <= 5:
            raise view.error(f"it has {rank} axes")
        scale, bias = _stored(view, 1, 2)
        options = (positional("num_features", len(scale)), _epsilon(view), keyword("affine", "True"))
        return layered("norm", Call(f"nn.InstanceNorm{rank - 2}d", options), {"weight": scale, "bias": bias})


class GroupNormalization(Emitter):
    """Write nn.GroupNorm."""

    ops = frozenset({"GroupNormalization"})

    def emit(self, view: EmitterView) -> Emitted:
        """Take scale and bias along; where there is one scale a group, normalise each group as one channel."""
        channels, groups = view.shape(0)[1], view.int_attribute("num_groups", 1)
        if channels is None:
            raise view.error("its number of channels follows the input")
        scale, bias = _stored(view, 1, 2)
        per_group = view.index.opset < PER_CHANNEL_GROUP_NORM_OPSET
        width = groups if per_group else channels
        call = Call(
            "nn.GroupNorm", (positional("num_groups", groups), positional("num_channels", width), _epsilon(view))
        )
        tensors = {"weight": scale, "bias": bias}
        if not per_group:
            return layered("norm", call, tensors)
        expression = f"{{layer}}({{0}}.unflatten(1, ({groups}, -1))).flatten(1, 2)"
        return layered("norm", call, tensors, expression=expression)


class LayerNormalization(Emitter):
    """Write nn.LayerNorm or nn.RMSNorm."""

    ops = frozenset({"LayerNormalization", "RMSNormalization"})

    def emit(self, view: EmitterView) -> Emitted:
        """Normalise over the last axes."""
        shape = view.shape(0)
        sizes = [size for size in shape[view.int_attribute("axis", -1) % len(shape) :] if size is not None]
        (scale,) = _stored(view, 1)
        bias = _stored(view, 2) if view.has(2) else []
        if list(scale.shape) != sizes:
            raise view.error("its scale does not span the axes it normalises")
        over = positional("normalized_shape", sizes[0] if len(sizes) == 1 else str(tuple(sizes)))
        if view.node.op_type == "RMSNormalization":
            return layered("norm", Call("nn.RMSNorm", (over, _epsilon(view, 0.0))), {"weight": scale})
        options = (over, _epsilon(view), keyword("bias", str(bool(bias)), "True"))
        tensors = {"weight": scale, "bias": bias[0]} if bias else {"weight": scale}
        return layered("norm", Call("nn.LayerNorm", options), tensors)


class Mixing(Emitter):
    """Write normalisations without parameters."""

    ops = frozenset(
        {"CumSum", "Hardmax", "LRN", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Softmax"}
    )

    def emit(self, view: EmitterView) -> Emitted:
        """Dispatch on the op."""
        writers: dict[str, Callable[[EmitterView], str]] = {
            "CumSum": _cumulative_sum,
            "Hardmax": lambda v: _along(v, "F.one_hot({0}.argmax(-1), {0}.shape[-1]).to({0}.dtype)", last_only=True),
            "LRN": _local_response,
            "LogSoftmax": lambda v: _along(v, "F.log_softmax({0}, {axis})"),
            "LpNormalization": lambda v: (
                f"F.normalize({{0}}, p={v.int_attribute('p', 2)}, dim={v.int_attribute('axis', -1)})"
            ),
            "MeanVarianceNormalization": _mean_variance,
            "Softmax": lambda v: _along(v, "F.softmax({0}, {axis})"),
        }
        return plain(writers[view.node.op_type](view))


def _along(view: EmitterView, text: str, *, last_only: bool = False) -> str:
    rank, flattens = len(view.shape(0)), view.index.opset < SOFTMAX_ALONG_ONE_AXIS_OPSET
    axis = view.int_attribute("axis", 1 if flattens else -1) % rank
    last = axis == rank - 1
    if last or not (flattens or last_only):
        return text.replace("{axis}", "-1" if last else str(axis))
    if flattens:
        return f"{text.replace('{axis}', '-1').replace('{0}', f'{{0}}.flatten({axis})')}.reshape({{0}}.shape)"
    moved = text.replace("{0}", f"{{0}}.movedim({axis}, -1)")
    return f"{moved}.movedim(-1, {axis})"


def _cumulative_sum(view: EmitterView) -> str:
    (axis,) = view.integers(1) or [0]
    if not view.int_attribute("reverse", 0) and not view.int_attribute("exclusive", 0):
        return f"torch.cumsum({{0}}, {axis})"
    text = (
        f"{{0}}.flip({axis}).cumsum({axis}).flip({axis})"
        if view.int_attribute("reverse", 0)
        else f"{{0}}.cumsum({axis})"
    )
    return f"{text} - {{0}}" if view.int_attribute("exclusive", 0) else text


def _local_response(view: EmitterView) -> str:
    size = view.int_attribute("size", 1)
    if size % 2 == 0:
        raise view.error("its window is even: PyTorch's lies one channel further")
    alpha, beta, k = (
        view.float_attribute("alpha", 1e-4),
        view.float_attribute("beta", 0.75),
        view.float_attribute("bias", 1.0),
    )
    return f"F.local_response_norm({{0}}, {size}, alpha={alpha}, beta={beta}, k={k})"


def _mean_variance(view: EmitterView) -> str:
    axes = tuple(view.ints_attribute("axes") or [0, 2, 3])
    spread = f"({{0}}.std({axes}, correction=0, keepdim=True) + 1e-09)"
    return f"({{0}} - {{0}}.mean({axes}, keepdim=True)) / {spread}"
