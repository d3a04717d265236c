"""Latencies to store: of layers of any width, on devices of any name."""

from datetime import UTC, datetime

from toolchain.measure.latency import Latency
from toolchain.store.entry import Entry
from toolchain.store.network_entry import NetworkEntry
from toolchain.store.signature import OpSignature
from toolchain.targets.contract import Clock
from toolchain.targets.engine import Identity
from toolchain.targets.layer_time import LayerTime

MORNING = datetime(2026, 5, 1, 8, tzinfo=UTC)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def signature(width: int = 64) -> OpSignature:
    return OpSignature(
        op_type="Conv",
        input_width=width,
        output_width=128,
        batch=1,
        data_type="FLOAT",
        spatial_size=(28, 28),
        kernel_shape=(3, 3),
        strides=(1, 1),
        pads=(1, 1, 1, 1),
        dilations=(1, 1),
        fused_ops=("Add", "Relu"),
    )


def identity(device: str = "a processor") -> Identity:
    return Identity("onnxruntime", device, "onnxruntime 1.31", "as in the model", (("threads", "1"),))


def entry(
    width: int = 64,
    *,
    device: str = "a processor",
    median_ms: float = 1.5,
    created_at: datetime = MORNING,
    waiting_share: float | None = None,
) -> Entry:
    latency = Latency(
        samples_ms=(median_ms - 0.25, median_ms, median_ms + 0.25),
        low_ms=median_ms - 0.1,
        high_ms=median_ms + 0.1,
        clock=Clock.HOST,
        warm_up_runs=10,
        warm_up_seconds=1.0,
        batch=1,
        identity=identity(device),
    )
    return Entry(signature(width), latency, created_at, "0.1.0", waiting_share)


def network_entry(
    network: str = "a network",
    *,
    device: str = "a processor",
    created_at: datetime = MORNING,
    waiting_share: float | None = None,
) -> NetworkEntry:
    layers = (
        LayerTime("first", "Conv", ("conv_out", "relu_out"), "relu_out", (0.5, 0.75)),
        LayerTime("second", "MaxPool", ("pool_out",), "pool_out", (0.25, 0.25)),
    )
    return NetworkEntry(network, identity(device), 1.25, layers, created_at, "0.1.0", waiting_share)
