"""What `profile --json` prints."""

from __future__ import annotations

from toolchain.emit.report import Frozen, TargetFigure


class KernelFigure(Frozen):
    """A kernel: the ONNX nodes it computes and its part of the whole engine's time."""

    name: str
    op_types: tuple[str, ...]
    latency_ms: float
    share: float


class CurveFigure(Frozen):
    """A distinct layer's latency over its width, or a group's; `steps` are widest first, without the full width."""

    what: str
    layers: tuple[str, ...]
    axis: str
    full_width: int
    steps: tuple[int, ...]
    widths: tuple[int, ...]
    latency_ms: tuple[float, ...]
    noise: tuple[float, ...]
    """Half the width of each latency's interval, relative."""
    timings: int
    sweep_timings: int


class ProfileFigure(Frozen):
    """A network on a target."""

    model: str
    target: TargetFigure
    whole_ms: float
    in_network: bool
    """Whether kernels were timed inside the network; else each block was timed alone."""
    kernels: tuple[KernelFigure, ...]
    curves: tuple[CurveFigure, ...]
    exhaustive: bool
    timed: int
    """How many latencies of blocks were timed for this; the others were known from an earlier run or another layer."""
    seconds: float

    @property
    def timings(self) -> int:
        """How many points the curves have."""
        return sum(curve.timings for curve in self.curves)

    @property
    def sweep_timings(self) -> int:
        """How many points full sweeps have."""
        return sum(curve.sweep_timings for curve in self.curves)
