"""Pad, Expand and Tile: ops that make a tensor larger.

F.pad counts from the last axis, (before, after) by pairs, and crops where a pad is negative.
(https://onnx.ai/onnx/operators/onnx__Pad.html, onnx__Expand.html, onnx__Tile.html)
"""

from __future__ import annotations

import numpy as np

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, literal, plain
from toolchain.emit.torch_module.padding import pad_call

MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


class Pad(Emitter):
    """Write F.pad."""

    ops = frozenset({"Pad"})

    def emit(self, view: EmitterView) -> Emitted:
        """Order the amounts as PyTorch does."""
        rank = len(view.shape(0))
        given = view.integers(1, "pads") or []
        axes = [axis % rank for axis in view.integers(3) or range(rank)]
        amounts = np.zeros((2, rank), np.int64)
        amounts[:, axes] = np.array(given).reshape(2, -1)
        mode = MODES[view.text_attribute("mode", "constant")]
        return plain(pad_call("{0}", *amounts.tolist(), mode=mode, value=_fill(view)))


def _fill(view: EmitterView) -> str:
    if not view.has(2):
        value = view.float_attribute("value", 0.0)
        return str(value) if value else ""
    fill = view.value(2)
    if fill is None:
        return "{2}.item()"
    return literal(fill.reshape(-1)[0]) if np.any(fill) else ""


class Expand(Emitter):
    """Write expand."""

    ops = frozenset({"Expand"})

    def emit(self, view: EmitterView) -> Emitted:
        """State the sizes of the output."""
        sizes = view.sizes.shape_text(view.node.output[0], view.name(0))
        if sizes is None or "-1" in sizes:  # to expand, -1 means to leave a size as it is
            return plain("{0}.expand(torch.broadcast_shapes({0}.shape, tuple({1}.tolist())))")
        return plain(f"{{0}}.expand({', '.join(sizes)})")


class Tile(Emitter):
    """Write repeat."""

    ops = frozenset({"Tile"})

    def emit(self, view: EmitterView) -> Emitted:
        """State how often each axis is repeated."""
        repeats = view.value(1)
        if repeats is None:
            return plain("{0}.repeat({1}.tolist())")
        return plain(f"{{0}}.repeat({', '.join(str(item) for item in repeats.tolist())})")
