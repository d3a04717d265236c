"""DepthToSpace and SpaceToDepth by PyTorch's pixel shuffle, which counts channels column first (CRD).

(https://onnx.ai/onnx/operators/onnx__DepthToSpace.html, onnx__SpaceToDepth.html; the other order is a transpose away)
"""

from __future__ import annotations

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, plain


class PixelShuffle(Emitter):
    """Write F.pixel_shuffle and F.pixel_unshuffle."""

    ops = frozenset({"DepthToSpace", "SpaceToDepth"})

    def emit(self, view: EmitterView) -> Emitted:
        """Bring the channels into PyTorch's order, or out of it."""
        block = view.int_attribute("blocksize", 1)
        if view.node.op_type == "SpaceToDepth":
            reordered = f".unflatten(1, (-1, {block**2})).transpose(1, 2).flatten(1, 2)"
            return plain(f"F.pixel_unshuffle({{0}}, {block}){reordered}")
        if view.text_attribute("mode", "DCR") == "CRD":
            return plain(f"F.pixel_shuffle({{0}}, {block})")
        return plain(f"F.pixel_shuffle({{0}}.unflatten(1, ({block**2}, -1)).transpose(1, 2).flatten(1, 2), {block})")
