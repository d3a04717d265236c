"""DepthToSpace and SpaceToDepth: channels move into positions and back.

    DepthToSpace  (N, b*b*C, H, W) -> (N, C, b*H, b*W)      DCR: depth = (i*b + j)*C + c,  CRD: depth = c*b*b + i*b + j
    SpaceToDepth  (N, C, b*H, b*W) -> (N, b*b*C, H, W)      depth = (i*b + j)*C + c
    (https://onnx.ai/onnx/operators/onnx__DepthToSpace.html, onnx__SpaceToDepth.html)

The block stays square, so all b*b channels that become one are one unit.
"""

from __future__ import annotations

import numpy as np

from toolchain.graph.labels import along, spread
from toolchain.graph.rule import NodeView, Rule


class PixelShuffle(Rule):
    """Unite the b*b channels that share a channel on the spatial side."""

    ops = frozenset({"DepthToSpace", "SpaceToDepth"})
    only_carries = True

    def label(self, view: NodeView) -> None:
        """Gather or repeat the channel's labels."""
        shape = view.input_shape(0)
        area = view.int_attribute("blocksize", 1) ** 2
        why = "its blocks must stay whole"
        vector = spread(view.hold_all_but(1, why), shape[1])
        if view.node.op_type == "SpaceToDepth":
            view.assign(along(np.tile(vector, area), 1, len(shape)))
            return
        blocks = vector.reshape(-1, area).T if self._column_first(view) else vector.reshape(area, -1)
        view.labels.unite(blocks, blocks[:1], view.reason(why))
        view.assign(along(blocks[0], 1, len(shape)))

    def _column_first(self, view: NodeView) -> bool:
        return any(item.name == "mode" and item.s == b"CRD" for item in view.node.attribute)
