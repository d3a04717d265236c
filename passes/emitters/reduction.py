"""Reductions.

y[i] = reduce_j x[i, j]        (https://onnx.ai/onnx/operators/, Reduce*, ArgMax, ArgMin)
"""

from __future__ import annotations

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, plain

METHODS = {
    "ReduceL1": "{0}.abs().sum(*)",
    "ReduceL2": "torch.linalg.vector_norm({0}, 2, *)",
    "ReduceLogSum": "{0}.sum(*).log()",
    "ReduceLogSumExp": "{0}.logsumexp(*)",
    "ReduceMax": "{0}.amax(*)",
    "ReduceMean": "{0}.mean(*)",
    "ReduceMin": "{0}.amin(*)",
    "ReduceSum": "{0}.sum(*)",
    "ReduceSumSquare": "{0}.square().sum(*)",
}


class Reduction(Emitter):
    """Write a reduction over some axes."""

    ops = frozenset({*METHODS, "ReduceProd"})

    def emit(self, view: EmitterView) -> Emitted:
        """No axes mean all of them, or none where the node says so."""
        rank = len(view.shape(0))
        axes = sorted(axis % rank for axis in view.integers(1, "axes") or [])
        if not axes and view.int_attribute("noop_with_empty_axes", 0):
            return plain("{0}")
        over, keep = axes or list(range(rank)), bool(view.int_attribute("keepdims", 1))
        if view.node.op_type == "ReduceProd":
            steps = "".join(f".prod({axis}, keepdim={keep})" for axis in reversed(over))
            return plain("{0}" + steps.replace(", keepdim=False", ""))
        arguments = f"{over[0] if len(over) == 1 else tuple(over)}{', keepdim=True' if keep else ''}"
        return plain(METHODS[view.node.op_type].replace("*", arguments))


class Extremum(Emitter):
    """Write argmax and argmin."""

    ops = frozenset({"ArgMax", "ArgMin"})

    def emit(self, view: EmitterView) -> Emitted:
        """PyTorch takes the first of equals, as ONNX does unless told otherwise."""
        if view.int_attribute("select_last_index", 0):
            raise view.error("it takes the last of equals")
        keep = ", keepdim=True" if view.int_attribute("keepdims", 1) else ""
        return plain(f"{{0}}.{view.node.op_type.lower()}({view.int_attribute('axis', 0)}{keep})")
