"""`fold-constants`: compute at compile time what does not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from polygraphy.backend import onnx as polygraphy_onnx
from polygraphy.logger import G_LOGGER

from toolchain.graph.normalise import copy_model, normalise
from toolchain.pipeline.contract import Pass, PassContext, PassResult, restore_identity

SIZE_THRESHOLD_BYTES = 1 << 24


def fold_constants(model: onnx.ModelProto, size_threshold_bytes: int = SIZE_THRESHOLD_BYTES) -> onnx.ModelProto:
    """Return a normalised model with every constant node folded whose value is no larger than the threshold."""
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        fold = polygraphy_onnx.FoldConstants(
            copy_model(model),
            num_passes=1,
            size_threshold=size_threshold_bytes,
            allow_onnxruntime_shape_inference=False,
            error_ok=True,
        )
        return normalise(fold())


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace every node that has only constant inputs by its value (Polygraphy's loader does the work).

    `size_threshold_bytes` keeps a folded tensor from blowing up the file: an Expand of one number, say.
    """

    size_threshold_bytes: int = SIZE_THRESHOLD_BYTES

    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:  # noqa: ARG002
        """Fold once; folding is complete when fewer nodes remain, and pointless when none goes."""
        folded = fold_constants(model, self.size_threshold_bytes)
        gone = len(model.graph.node) - len(folded.graph.node)
        if gone <= 0:
            return PassResult(model, False, ("nothing to fold",))
        restore_identity(folded, model)
        return PassResult(folded, True, (f"{gone} nodes folded",))
