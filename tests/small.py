"""What tests of passes and pipelines share: a small network, samples for it, and the context a pass runs in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from oracle import RULES, graph

from toolchain.budget import Budget
from toolchain.criterion import Calibration
from toolchain.graph.deployment import deployment_binding, random_feeds
from toolchain.graph.oracle import Feeds
from toolchain.latency.stair_macs import StairMacs
from toolchain.measure.timer import EngineTimer
from toolchain.pipeline.contract import PassContext
from toolchain.targets.contract import Alignment
from toolchain.targets.null import Null
from toolchain.targets.onnxruntime import ReferenceSession

TILES = Null(multiprocessors=1, tile_rows=16, tile_columns=8, tile_depth=8)
"""A device so small that every eighth channel of a small network counts."""


class Silent:
    """Reports nowhere."""

    def progress(self, text: str) -> None:
        del text

    def warn(self, text: str) -> None:
        del text


@dataclass(frozen=True, eq=False)
class Samples:
    """Batches of inputs to calibrate on."""

    feeds: Sequence[Mapping[str, npt.NDArray[Any]]]

    def calibration_of(self, model: onnx.ModelProto) -> Calibration:
        fitting, held_out = self.feeds[1:] or self.feeds, self.feeds[:1]
        return Calibration(lambda: fitting, lambda: held_out, lambda names: ReferenceSession(model, list(names)).run)


def network(*, batch: int | str = 1, width: int = 32, seed: int = 0) -> onnx.ModelProto:
    """Return three weighted layers: two groups that can be pruned, and four class scores that cannot."""
    return graph(
        f"""net (float[{batch},3,8,8] x) => (float[{batch},4] scores) <
            float[{width},3,3,3] stem_weight, float[{width}] stem_bias,
            float[{width},{width},3,3] body_weight, float[{width}] body_bias,
            float[4,{width}] head_weight, float[4] head_bias
        > {{
            stem = Conv<pads=[1,1,1,1]>(x, stem_weight, stem_bias)
            stem_out = Relu(stem)
            body = Conv<pads=[1,1,1,1]>(stem_out, body_weight, body_bias)
            body_out = Relu(body)
            pooled = GlobalAveragePool(body_out)
            flat = Flatten(pooled)
            scores = Gemm<transB=1>(flat, head_weight, head_bias)
        }}""",
        seed=seed,
    )


def with_a_silent_unit() -> onnx.ModelProto:
    """Return the network with a unit 3 of the stem that is always zero."""
    model = network(batch="N")
    for tensor in model.graph.initializer:
        if tensor.name == "stem_bias":
            bias = parameters(model)["stem_bias"].copy()
            bias[3] = -1e3  # Relu never lets it through.
            tensor.raw_data = bias.tobytes()
    return model


def with_a_group_that_no_layer_reads() -> onnx.ModelProto:
    """Return a convolution `a` whose channels reach a product with a batch of matrices, which is no layer."""
    return graph("""net (float[N,3,2,2] x) => (float[N,4,5] y) <
        float[8,3,1,1] v, float[1,8,5] w, int64[3] s = {0, 4, 8}> {
        a = Conv(x, v)
        t = Transpose<perm=[0,2,3,1]>(a)
        f = Reshape(t, s)
        y = MatMul(f, w)
    }""")


def feeds_of(model: onnx.ModelProto, seed: int = 0) -> Feeds:
    """Draw one batch; symbolic batches are 1."""
    return random_feeds(model, deployment_binding(model, {}, {}), np.random.default_rng(seed))


def samples_of(model: onnx.ModelProto, batches: int = 8, size: int = 16) -> Samples:
    """Draw batches for a model with a symbolic batch."""
    rng = np.random.default_rng(1)
    name, shape = model.graph.input[0].name, [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return Samples([{name: rng.standard_normal((size, *shape[1:])).astype(np.float32)} for _ in range(batches)])


def timer_of(model: onnx.ModelProto, folder: Path) -> EngineTimer:
    """Build and "time" a model on the formula."""
    binding = deployment_binding(model, {}, {})
    return EngineTimer.start(TILES, model, feeds_of(model), binding, folder, np.random.default_rng(0))


def context_of(
    model: onnx.ModelProto, folder: Path, *, budget: float | None = 0.6, samples: Samples | None = None
) -> PassContext:
    """Return what a pass of a compile of `model` is given."""
    return PassContext(
        rules=RULES,
        binding=deployment_binding(model, {}, {}),
        budget=Budget(ratio=budget) if budget else None,
        alignment=Alignment(preferred=8, least=4),
        timer=timer_of(model, folder),
        calibration=samples,
        reporter=Silent(),
        seed=0,
        latency_of=lambda analysis: StairMacs(analysis, RULES, 8, 1.0),
    )


def parameters(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Return the initialisers by name."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
