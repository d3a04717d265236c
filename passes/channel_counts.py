"""Statistics over channels, and the constants behind them that hold how many channels there are.

    mean = ReduceSum(x) / C        is a mean of what is left only if C becomes the number that is left

1. A sum whose reader divides it by exactly what was summed over is a mean: surgery writes the new number.
2. Behind any other statistic a constant like C, sqrt(C) or C - 1 may be its count (an unbiased variance, a norm scaled
   to unit size) or a number of its own. Nothing in the graph tells which, so that these channels stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod, sqrt

import numpy as np

from toolchain.graph.index import Use, describe
from toolchain.graph.labels import Count, LabelArray, Reason, varying_axes
from toolchain.graph.rule import NodeView

SUMS = frozenset({"ReduceL1", "ReduceSum", "ReduceSumSquare"})
"""Reductions that grow with the number of what they reduce, in proportion."""

BFLOAT16_PRECISION = 2.0**-7

CARRYING_NAMES = """
Add Cast Clip Div Expand Identity Max Min Mul Neg Pow Reciprocal Reshape Sqrt Squeeze Sub Sum Transpose Unsqueeze"""
CARRYING = frozenset(CARRYING_NAMES.split())
"""Ops behind which a statistic is still one; an activation or a weighted layer makes something else of it."""


def statistic(view: NodeView, axes: Sequence[int], reason: Reason) -> LabelArray:
    """Mix these axes of the first input; freeze where a constant behind may hold the number of what is mixed."""
    labels, shape = view.labels.mix(view.input_labels(0), axes, reason), view.input_shape(0)
    channels = prod(shape[axis] for axis in varying_axes(labels) if axis in axes)
    if channels == 1:
        return labels
    mixed = prod(shape[axis] for axis in axes)
    for use, value in _factors_behind(view):
        if view.node.op_type in SUMS and _is_mean(view, use, value, mixed):
            inverse = view.index.nodes[use.node_index].op_type == "Mul"
            view.labels.counts.append(Count(use, labels, mixed // channels, inverse))
        elif any(_is(value, count) for number in {channels, mixed} for count in _counts(number)):
            why = f"its constant {value.item():.6g} may hold the number of these channels"
            view.labels.freeze(labels, Reason(describe(view.index.nodes[use.node_index]), why))
    return labels


def _factors_behind(view: NodeView) -> Iterator[tuple[Use, np.generic]]:
    """Yield every number that what the node makes is multiplied with or divided by."""
    index, pending, seen = view.index, [view.outputs[0]], set()
    while pending:
        for reader, _ in index.uses.get(pending.pop(), ()):
            node = index.nodes[reader]
            if reader in seen or node.op_type not in CARRYING:
                continue
            seen.add(reader)
            pending.extend(node.output)
            if node.op_type in ("Mul", "Div"):
                yield from _numbers_of(view, reader)


def _numbers_of(view: NodeView, reader: int) -> Iterator[tuple[Use, np.generic]]:
    for position, name in enumerate(view.index.node_inputs[reader]):
        value = view.labels.fact(name).value
        if value is not None and value.size == 1:
            yield Use(reader, position), value.reshape(-1)[0]


def _is_mean(view: NodeView, use: Use, value: np.generic, mixed: int) -> bool:
    """Tell whether a node divides the sum itself by a constant, the number of its terms."""
    node = view.index.nodes[use.node_index]
    if view.outputs[0] not in node.input or node.input[use.input_index] not in view.index.constants:
        return False
    return _is(value, 1 / mixed) if node.op_type == "Mul" else use.input_index == 1 and _is(value, mixed)


def _counts(number: int) -> tuple[float, ...]:
    """Return what a constant may be that holds a number of channels, or one less, or a root of it."""
    held = (number, sqrt(number), max(number - 1, 1), number / max(number - 1, 1))
    return tuple(count for item in held if item != 1 for count in (item, 1 / item))


def _is(value: np.generic, number: float) -> bool:
    """Compare, allowing for rounding in the constant's own type."""
    if isinstance(value, np.integer):
        return int(value) == number
    precision = float(np.finfo(value).eps) if isinstance(value, np.floating) else BFLOAT16_PRECISION
    return abs(float(value) - number) <= 4 * precision * number
