"""OpenVINO's performance counters, read against its runtime model and the ONNX model that was compiled.

Every operation of the runtime model lists the layers it computes by the names they had in the ONNX model. The
compiler renames some of them (a Conv whose BatchNormalization it folds): those are found from what is around them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from toolchain.graph.index import GraphIndex
from toolchain.targets.layer_time import LayerTime, first_outputs, names_to_nodes, share_nodes

SETTLE_RUNS = 2
_DATA = frozenset({"Input", "Const", "Output"})
_MOVES = frozenset({"Reorder"})


def layer_times(model: onnx.ModelProto, runtime: Any, runs: Sequence[Sequence[Any]]) -> tuple[LayerTime, ...]:
    """Return the operations of the runtime model that were executed, with the sample of each run."""
    samples_ms = _samples_ms(runs)
    index = GraphIndex(model)
    known = names_to_nodes(model)
    kernels = [kernel for kernel in runtime.get_ordered_ops() if _text(kernel, "layerType") not in _DATA]
    shares = share_nodes(index, [_claims(kernel, known) for kernel in kernels])
    tensors = _tensors(index, kernels, shares)
    return tuple(
        LayerTime(
            name=kernel.get_friendly_name(),
            op_type=_text(kernel, "layerType"),
            nodes=first_outputs(index, share),
            tensor=tensors.get(kernel.get_friendly_name(), ""),
            samples_ms=tuple(samples_ms[kernel.get_friendly_name()]),
        )
        for kernel, share in zip(kernels, shares, strict=True)
        if kernel.get_friendly_name() in samples_ms
    )


def _samples_ms(runs: Sequence[Sequence[Any]]) -> Mapping[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for counters in runs:
        for counter in counters:
            if counter.status == counter.Status.EXECUTED:
                found[counter.node_name].append(counter.real_time.total_seconds() * 1e3)
    return found


def _claims(kernel: Any, known: Mapping[str, int]) -> list[int]:
    if _text(kernel, "layerType") in _MOVES:
        return []
    names = [name.partition("/WithoutBiases")[0] for name in _text(kernel, "originalLayersNames").split(",")]
    return [known[name] for name in names if name in known]


def _tensors(index: GraphIndex, kernels: Sequence[Any], shares: Sequence[tuple[int, ...]]) -> Mapping[str, str]:
    """Map operations of the runtime model to the tensor they write or move."""
    found = {item.name: item.name for item in index.inputs}
    for kernel, share in zip(kernels, shares, strict=True):
        if share:
            found[kernel.get_friendly_name()] = index.nodes[share[-1]].output[0]
            continue
        before = [port.get_source_output().get_node().get_friendly_name() for port in kernel.inputs()]
        if before and before[0] in found:
            found[kernel.get_friendly_name()] = found[before[0]]
    return found


def _text(kernel: Any, key: str) -> str:
    info = kernel.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""
