"""Convolutions of any rank, strided, dilated, grouped, depthwise or transposed, as linear maps of columns.

    Conv           y[m, o] = b[m] + sum_{c, k} W[m, c, k] * x[c, o * stride + k * dilation - pad]
    ConvTranspose  y[m, o] = b[m] + sum_{c, k} W[c, m, k] * x[c, i],   i * stride + k * dilation - pad = o
    (https://onnx.ai/onnx/operators/onnx__Conv.html, onnx__ConvTranspose.html)

A transposed convolution is a convolution with stride 1 and mirrored kernel over an input with stride - 1 zeros
between its values.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view

from toolchain.graph.index import GraphIndex, attribute, int_attribute, ints_attribute
from toolchain.recovery.layer import Array, Indices, LinearLayer


@dataclass(frozen=True, eq=False)
class Convolution(LinearLayer):
    """A Conv or ConvTranspose; unknowns are ordered by channel, then kernel position."""

    ops: ClassVar[frozenset[str]] = frozenset({"Conv", "ConvTranspose"})

    @classmethod
    def of(cls, index: GraphIndex, node: onnx.NodeProto) -> Self | None:
        """Accept stored weight and bias and explicit or `SAME_*` padding of a Conv."""
        names = [*node.input, ""]
        padding = attribute(node, "auto_pad") or "NOTSET"
        understood = padding in ("NOTSET", "VALID") or node.op_type == "Conv"
        if names[1] not in index.constants or (names[2] and names[2] not in index.constants) or not understood:
            return None
        return cls(node, names[0], names[1], names[2], node.output[0], int_attribute(node, "group", 1))

    @property
    def input_axis(self) -> int:
        """Second in Conv, first in ConvTranspose."""
        return 0 if self._transposed else 1

    def channel_axis(self, rank: int) -> int:  # noqa: ARG002
        """Channels follow the batch."""
        return 1

    def columns(self, value: Array, weight_shape: tuple[int, ...], output_shape: tuple[int, ...], at: Indices) -> Array:
        """Pick receptive fields out of all sliding windows, a view that copies nothing but what is picked."""
        kernel = weight_shape[2:]
        image, *place = np.unravel_index(at, (output_shape[0], *output_shape[2:]))
        windows = self._windows(value, kernel, output_shape[2:])
        strides = [1] * len(kernel) if self._transposed else self._each("strides", len(kernel))
        starts = [position * stride for position, stride in zip(place, strides, strict=True)]
        chosen: tuple[Any, ...] = (image, slice(None), *starts)
        picked: Array = windows[chosen]
        return picked.reshape(len(at), self.groups, -1).transpose(1, 0, 2)

    def matrix(self, weight: Array) -> Array:
        """Lay channels and kernel positions along the unknowns."""
        if self._transposed:
            split = weight.reshape(self.groups, weight.shape[0] // self.groups, weight.shape[1], -1)
            return split.swapaxes(2, 3).reshape(self.groups, -1, weight.shape[1])
        return weight.reshape(self.groups, weight.shape[0] // self.groups, -1).swapaxes(1, 2)

    def array(self, matrix: Array, weight_shape: tuple[int, ...]) -> Array:
        """Undo `matrix`."""
        if self._transposed:
            split = matrix.reshape(self.groups, weight_shape[0] // self.groups, -1, weight_shape[1])
            return split.swapaxes(2, 3).reshape(weight_shape)
        return matrix.swapaxes(1, 2).reshape(weight_shape)

    def column_channels(self, weight_shape: tuple[int, ...]) -> Indices:
        """Every channel has one unknown for each kernel position."""
        channels = weight_shape[0] // self.groups if self._transposed else weight_shape[1]
        return np.repeat(np.arange(channels), prod(weight_shape[2:]))

    @property
    def _transposed(self) -> bool:
        return self.node.op_type == "ConvTranspose"

    def _each(self, name: str, rank: int) -> list[int]:
        return ints_attribute(self.node, name) or [1] * rank

    def _windows(self, value: Array, kernel: tuple[int, ...], positions: tuple[int, ...]) -> Array:
        """Return the view (batch, channels, starts..., kernel...)."""
        dilations = self._each("dilations", len(kernel))
        reach = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
        padded = self._spread(value, reach, positions) if self._transposed else self._padded(value, reach, positions)
        axes = tuple(range(2, value.ndim))
        windows = sliding_window_view(padded, [size + 1 for size in reach], axes)
        steps = [slice(None, None, -dilation if self._transposed else dilation) for dilation in dilations]
        place: tuple[Any, ...] = (..., *steps)
        result: Array = windows[place]
        return result

    def _padded(self, value: Array, reach: list[int], positions: tuple[int, ...]) -> Array:
        rank = len(reach)
        padding = attribute(self.node, "auto_pad") or "NOTSET"
        pads = (ints_attribute(self.node, "pads") or [0] * 2 * rank) if padding == "NOTSET" else [0] * 2 * rank
        begins, ends = pads[:rank], pads[rank:]
        if padding in ("SAME_UPPER", "SAME_LOWER"):
            strides = self._each("strides", rank)
            sizes = zip(positions, strides, reach, value.shape[2:], strict=True)
            totals = [max(0, (count - 1) * stride + far + 1 - size) for count, stride, far, size in sizes]
            begins = [total // 2 if padding == "SAME_UPPER" else total - total // 2 for total in totals]
            ends = [total - begin for total, begin in zip(totals, begins, strict=True)]
        return np.pad(value, [(0, 0), (0, 0), *zip(begins, ends, strict=True)])

    def _spread(self, value: Array, reach: list[int], positions: tuple[int, ...]) -> Array:
        """Put zeros between the values, and around them so that window o holds what output o reads."""
        rank = len(reach)
        strides, pads = self._each("strides", rank), ints_attribute(self.node, "pads") or [0] * 2 * rank
        begins = [far - pad for far, pad in zip(reach, pads[:rank], strict=True)]
        sizes = [far + count for far, count in zip(reach, positions, strict=True)]
        result = np.zeros((*value.shape[:2], *sizes), value.dtype)
        targets, sources = [], []
        for begin, stride, size, count in zip(begins, strides, sizes, value.shape[2:], strict=True):
            first = max(0, -(begin // stride))
            last = min(count, (size - 1 - begin) // stride + 1)
            targets.append(slice(begin + first * stride, begin + (last - 1) * stride + 1, stride))
            sources.append(slice(first, last))
        result[(slice(None), slice(None), *targets)] = value[(slice(None), slice(None), *sources)]
        return result
