"""ONNX Runtime's profile, read against the optimised graph it belongs to and the model that was optimised.

The optimiser keeps the names of tensors, and calls a node it moves to the blocked (NCHWc) layout after the tensor it
wrote until then: `conv1_output` becomes node `conv1_output_nchwc`. What is fused to it later changes no name.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from toolchain.graph.index import CONTROL_FLOW, GraphIndex
from toolchain.targets.layer_time import LayerTime, first_outputs, names_to_nodes, share_nodes

KernelSamples = Mapping[int, Sequence[float]]
"""Milliseconds of each run, by the index of the node in the optimised graph."""

SETTLE_RUNS = 2
IDLE_RUNS = 20
IDLE_FEEDS = {"t0": np.ones((1, 1), np.float32)}
IDLE_MODEL = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 17]> idle (float[1,1] t0) => (float[1,1] t8) {'
    + " ".join(f"t{number + 1} = Flatten<axis={number % 2}>(t{number})" for number in range(8))
    + "}"
)
"""Kernels that do nothing."""

_BLOCKED_SUFFIX = "_nchwc"
_BLOCKED_DOMAIN = "com.microsoft.nchwc"
_REORDERS = ("ReorderInput", "ReorderOutput")


def layer_times(
    model: onnx.ModelProto, optimised: onnx.ModelProto, samples_ms: KernelSamples, cost_ms: float
) -> tuple[LayerTime, ...]:
    """Return the kernels of `optimised`, in its order, each sample less what the profiler costs.

    It is in every sample: one that is shorter shows that the cost was measured while others were running.
    """
    cost_ms = min([cost_ms, *(min(samples) for samples in samples_ms.values() if samples)])
    source = GraphIndex(model)
    kernels = tuple(optimised.graph.node)
    known = names_to_nodes(model)
    shares = share_nodes(source, [_claims(kernel, known) for kernel in kernels])
    tensors = _tensors(source, kernels, shares)
    return tuple(
        LayerTime(
            name=kernel.name or kernel.output[0],
            op_type=kernel.op_type,
            nodes=first_outputs(source, share),
            tensor=tensors.get(kernel.output[0], ""),
            samples_ms=tuple(max(sample - cost_ms, 0.0) for sample in samples_ms[number]),
        )
        for number, (kernel, share) in enumerate(zip(kernels, shares, strict=True))
        if number in samples_ms
    )


def read_profile(profile: Path) -> KernelSamples:
    """Return the durations of each kernel of the main graph but for the runs that settle.

    Kernels of a subgraph have numbers of their own, and run while the node that carries it does: it has their time.
    """
    kernels = [event for event in json.loads(profile.read_text()) if _is_kernel(event)]
    found: dict[int, list[float]] = defaultdict(list)
    busy_until = 0
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] < busy_until:
            continue
        if event["args"]["op_name"] in CONTROL_FLOW:
            busy_until = event["ts"] + event["dur"]
        found[int(event["args"]["node_index"])].append(event["dur"] / 1e3)
    return {number: samples[SETTLE_RUNS:] for number, samples in found.items()}


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return bool(event["cat"] == "Node" and event["name"].endswith("_kernel_time"))


def _claims(kernel: onnx.NodeProto, known: Mapping[str, int]) -> list[int]:
    if kernel.op_type in _REORDERS:
        return []
    names = [kernel.name.removesuffix(_BLOCKED_SUFFIX)] if kernel.domain == _BLOCKED_DOMAIN else list(kernel.output)
    return [known[name] for name in names if name in known]


def _tensors(
    source: GraphIndex, kernels: Sequence[onnx.NodeProto], shares: Sequence[tuple[int, ...]]
) -> Mapping[str, str]:
    """Map tensors of the optimised graph to those of the model they hold, whatever the layout."""
    found = {item.name: item.name for item in source.inputs}
    for kernel, share in zip(kernels, shares, strict=True):
        if share:
            found[kernel.output[0]] = source.nodes[share[-1]].output[0]
        elif kernel.input and kernel.input[0] in found:
            found[kernel.output[0]] = found[kernel.input[0]]
    return found
