"""Ops that read only a tensor's shape, or make tensors from shapes: no channel passes through them.

What a graph computes from a shape follows the pruned shape by itself; the ops that use the result as sizes
(Reshape, Expand, Slice, ...) bring it in line in their own rules.
"""

from __future__ import annotations

from toolchain.graph.rule import Editor, NodeView, Rule


class ShapeArithmetic(Rule):
    """Read shapes, not channels; the output carries no labels."""

    ops = frozenset({"Constant", "ConstantOfShape", "EyeLike", "Range", "Shape", "Size"})

    def label(self, view: NodeView) -> None:
        """Leave the output unlabelled."""

    def refresh(self, view: NodeView, editor: Editor) -> None:
        """Keep the size of what ConstantOfShape makes, though the shape it read has lost channels."""
        size = view.fact(0).value if view.node.op_type == "ConstantOfShape" else None
        if size is not None:
            editor.pin(0, size)
