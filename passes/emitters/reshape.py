"""Reshape, Flatten, Transpose, Squeeze, Unsqueeze.

Sizes are written as numbers where they are fixed and as `x.shape[0]` where they follow the input.
(https://onnx.ai/onnx/operators/onnx__Reshape.html and its neighbours)
"""

from __future__ import annotations

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, plain


class Reshape(Emitter):
    """Write reshape, or flatten where that is all it does."""

    ops = frozenset({"Flatten", "Reshape"})

    def emit(self, view: EmitterView) -> Emitted:
        """State the output's sizes; where they cannot be told, leave them to the graph."""
        if view.node.op_type == "Flatten" and view.int_attribute("axis", 1) == 1:
            return plain("{0}.flatten(1)")
        sizes = view.sizes.shape_text(view.node.output[0], view.name(0))
        if sizes is None and view.node.op_type == "Reshape":
            return plain("{0}.reshape({1}.tolist())")
        if sizes is None:
            raise view.error("its sizes follow the input in a way that is not known")
        if len(sizes) == 2 and sizes[0] == "{0}.shape[0]" and len(view.shape(0)) > 2:
            return plain("{0}.flatten(1)")
        return plain(f"{{0}}.reshape({', '.join(sizes)})")


class Transpose(Emitter):
    """Write permute."""

    ops = frozenset({"Transpose"})

    def emit(self, view: EmitterView) -> Emitted:
        """Reverse the axes where no order is given."""
        order = view.ints_attribute("perm") or list(range(len(view.shape(0))))[::-1]
        return plain(f"{{0}}.permute({', '.join(map(str, order))})")


class AxesOfSizeOne(Emitter):
    """Write squeeze and unsqueeze."""

    ops = frozenset({"Squeeze", "Unsqueeze"})

    def emit(self, view: EmitterView) -> Emitted:
        """Insert from the first axis on, drop from the last."""
        axes = view.integers(1, "axes")
        if view.node.op_type == "Unsqueeze":
            rank = len(view.output_shape())
            return plain("{0}" + "".join(f".unsqueeze({axis})" for axis in sorted(a % rank for a in axes or [])))
        shape = view.shape(0)
        dropped = [a for a, s in enumerate(shape) if s == 1] if axes is None else [a % len(shape) for a in axes]
        return plain(f"{{0}}.squeeze({dropped[0] if len(dropped) == 1 else tuple(dropped)})" if dropped else "{0}")
