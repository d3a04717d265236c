"""Concat and Split.

(https://onnx.ai/onnx/operators/onnx__Concat.html, onnx__Split.html)
"""

from __future__ import annotations

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, plain


class Concat(Emitter):
    """Write torch.cat."""

    ops = frozenset({"Concat"})

    def emit(self, view: EmitterView) -> Emitted:
        """List the parts."""
        parts = ", ".join(f"{{{position}}}" for position in range(len(view.node.input)))
        return plain(f"torch.cat([{parts}], {view.int_attribute('axis', 1)})")


class Split(Emitter):
    """Write split, or chunk where the sizes follow the input."""

    ops = frozenset({"Split"})
    several_outputs = True

    def emit(self, view: EmitterView) -> Emitted:
        """State the size of every part."""
        axis, count = view.int_attribute("axis", 0), len(view.node.output)
        sizes = [view.output_shape(position)[axis % len(view.shape(0))] for position in range(count)]
        if None not in sizes:
            return plain(f"{{0}}.split({sizes}, {axis})")
        if view.has(1) or view.ints_attribute("split") is not None:
            raise view.error("its sizes follow the input")
        return plain(f"{{0}}.chunk({count}, {axis})")
