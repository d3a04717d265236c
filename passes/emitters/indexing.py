"""Slice and Gather, as Python's indexing.

Slice   x[:, 0:24, ::2]        Gather  x[:, index]        nn.Embedding for a stored table
(https://onnx.ai/onnx/operators/onnx__Slice.html, onnx__Gather.html; Slice's bounds are attributes before opset 10)
"""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.emit.torch_module.code import Call, positional
from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, layered, literal, plain
from toolchain.graph.facts import Array

FEW = 8
"""Index lists up to this length are written out."""


class Slice(Emitter):
    """Write a slice an axis; an axis read backwards is flipped."""

    ops = frozenset({"Slice"})

    def emit(self, view: EmitterView) -> Emitted:
        """Bounds that follow the input are written by its sizes."""
        rank = len(view.shape(0))
        starts, ends = _bounds(view, 1, "starts"), _bounds(view, 2, "ends")
        axes = [axis % rank for axis in view.integers(3, "axes") or range(len(starts))]
        steps = view.integers(4) or [1] * len(starts)
        windows, flipped = [":"] * rank, []
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            if step < 0:
                flipped.append(_whole_axis(view, axis, start, end, step))
                continue
            windows[axis] = _window(view, axis, start, end, step)
        text = f"{{0}}{_subscript(windows)}"
        return plain(f"{text}.flip({', '.join(map(str, flipped))})" if flipped else text)


def _bounds(view: EmitterView, position: int, attribute_name: str) -> list[tuple[int, ...]]:
    given = view.ints_attribute(attribute_name)
    if given is not None:
        return [(item, item) for item in given]
    entries = view.sizes.entries(view.name(position))
    if entries is None:
        raise view.error("its bounds are computed from data")
    return entries


def _window(view: EmitterView, axis: int, start: Sequence[int], end: Sequence[int], step: int) -> str:
    first, last = _bound(view, axis, start), _bound(view, axis, end)
    if all(value >= size for value, size in zip(end, _sizes(view, axis), strict=True)):
        last = ""
    return f"{'' if first == '0' else first}:{last}{f':{step}' if step != 1 else ''}"


def _bound(view: EmitterView, axis: int, values: Sequence[int]) -> str:
    text = view.sizes.text(values, view.name(0), axis)
    if text is None:
        raise view.error(f"its bounds along axis {axis} follow the input in a way that is not known")
    return text


def _whole_axis(view: EmitterView, axis: int, start: Sequence[int], end: Sequence[int], step: int) -> int:
    sizes = _sizes(view, axis)
    whole = all(s == -1 or s >= n - 1 for s, n in zip(start, sizes, strict=True))
    if step != -1 or not whole or not all(e < -n for e, n in zip(end, sizes, strict=True)):
        raise view.error("it reads a part of an axis backwards")
    return axis


def _sizes(view: EmitterView, axis: int) -> list[int]:
    return [(facts[view.name(0)].shape or ())[axis] for facts in view.sizes.variants]


def _subscript(windows: Sequence[str]) -> str:
    """Write the brackets up to the last axis that is cut; nothing where none is."""
    cut = [axis for axis, window in enumerate(windows) if window != ":"]
    return f"[{', '.join(windows[: cut[-1] + 1])}]" if cut else ""


class Gather(Emitter):
    """Write indexing along one axis."""

    ops = frozenset({"Gather"})

    def emit(self, view: EmitterView) -> Emitted:
        """A stored table that is looked up by what is fed is an embedding."""
        axis = view.int_attribute("axis", 0) % max(len(view.shape(0)), 1)
        table, indices = view.value(0), view.value(1)
        if table is not None and indices is None and table.ndim == 2 and axis == 0 and table.dtype.kind == "f":
            rows, columns = table.shape
            call = Call("nn.Embedding", (positional("num_embeddings", rows), positional("embedding_dim", columns)))
            return layered("embedding", call, {"weight": table}, {}, expression="{layer}({1})")
        return plain(f"{{0}}[{', '.join([*[':'] * axis, _index(indices)])}]")


def _index(indices: Array | None) -> str:
    if indices is None or indices.size > FEW or indices.ndim > 1:
        return "{1}"
    if indices.ndim == 0:
        return literal(indices.reshape(-1)[0])
    return str(indices.tolist())
