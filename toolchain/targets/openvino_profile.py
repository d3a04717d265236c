"""OpenVINO's performance counters, read against its runtime model and the ONNX model that was compiled.

Every operation of the runtime model lists the layers it computes by the names they had in the ONNX model. The
compiler renames some of them (a Conv whose BatchNormalization it folds): those are found from what is around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from toolchain.graph.index import GraphIndex
from toolchain.targets.layer_time import LayerTime, first_outputs, names_to_nodes, share_nodes

_DATA = frozenset({"Input", "Const", "Output"})
_MOVES = frozenset({"Reorder"})


def layer_times(
    model: onnx.ModelProto, runtime: Any, first: Sequence[Any], last: Sequence[Any], runs_ms: Sequence[float]
) -> tuple[LayerTime, ...]:
    """Return the operations of the runtime model; those that were not executed take 0.

    `first` are the counters after a first run, which compiles kernels, `last` those after all. A counter holds the mean
    of all runs so far. What the machine did meanwhile is in the wall-clock times of the runs, so for kernel k in run i

        sample[k, i] = mean_k * wall[i] / mean(wall),    mean_k = ((n + 1) last_k - first_k) / n
    """
    means_ms = _means_ms(first, last, len(runs_ms))
    spread = np.array(runs_ms) / np.mean(runs_ms)
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
            samples_ms=tuple((means_ms.get(kernel.get_friendly_name(), 0.0) * spread).tolist()),
        )
        for kernel, share in zip(kernels, shares, strict=True)
    )


def _means_ms(first: Sequence[Any], last: Sequence[Any], runs: int) -> Mapping[str, float]:
    before, after = _counters_ms(first), _counters_ms(last)
    return {name: max((runs + 1) * ms - before.get(name, 0.0), 0.0) / runs for name, ms in after.items()}


def _counters_ms(counters: Sequence[Any]) -> Mapping[str, float]:
    return {counter.node_name: counter.real_time.total_seconds() * 1e3 for counter in counters}


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
