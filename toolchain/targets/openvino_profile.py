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

SETTLE_RUNS = 3
DISTURBED = 1.1
"""A run that took longer than the faster ones by this factor was interrupted."""
SHORTEST_STRETCH = 3
TICK_SECONDS = 1e-6

_DATA = frozenset({"Input", "Const", "Output"})
_MOVES = frozenset({"Reorder"})


def layer_times(
    model: onnx.ModelProto, runtime: Any, reads: Sequence[Sequence[Any]], runs_ms: Sequence[float]
) -> tuple[LayerTime, ...]:
    """Return the operations of the runtime model; those that were not executed take 0.

    `reads` are the counters after `SETTLE_RUNS` runs, which compile kernels and fill caches, and again after each of
    the runs that are timed; `runs_ms` is what these took on the wall. A counter holds the mean of all runs so far, in
    whole microseconds: it rounds down each run, and their mean once more. After m runs of d it shows, with what the
    first ones took beyond d as c,

        counter[m] + 1 = d + c / m        within half a microsecond,

    whose d is found by least squares over the longest stretch of undisturbed runs. One interruption takes longer than
    all these runs, and a mean does not tell which kernel it hit. For kernel k in run i

        sample[k, i] = d_k                                           in that stretch,
                       d_k * wall[i] / mean(wall in that stretch)    in other runs.

    Where there is no such stretch, d is the mean of all runs, and all are others.
    """
    stretch, every = undisturbed(runs_ms), slice(0, len(runs_ms))
    fitted = stretch or every
    kernels_ms = typical_ms(reads[fitted.start : fitted.stop + 1], SETTLE_RUNS + fitted.start)
    spread = np.array(runs_ms) / np.mean(runs_ms[fitted])
    if stretch:
        spread[stretch] = 1.0
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
            samples_ms=tuple((kernels_ms.get(kernel.get_friendly_name(), 0.0) * spread).tolist()),
        )
        for kernel, share in zip(kernels, shares, strict=True)
    )


def undisturbed(runs_ms: Sequence[float]) -> slice | None:
    """Return the longest stretch of runs none of which was interrupted; None where it is too short."""
    calm = np.array(runs_ms) <= DISTURBED * np.percentile(runs_ms, 25)
    edges = np.flatnonzero(np.diff(calm, prepend=False, append=False)).reshape(-1, 2)
    start, stop = max(edges.tolist(), key=lambda edge: edge[1] - edge[0])
    return slice(start, stop) if stop - start >= SHORTEST_STRETCH else None


def typical_ms(reads: Sequence[Sequence[Any]], runs_before: int) -> Mapping[str, float]:
    """Return what each kernel takes, from counters that were read after each run, first after `runs_before` runs."""
    names = [counter.node_name for counter in reads[0]]
    ticks = np.array([[counter.real_time.total_seconds() / TICK_SECONDS for counter in read] for read in reads])
    inverse = 1.0 / np.arange(runs_before, runs_before + len(reads))
    fitted = np.polyfit(inverse, ticks + 1, 1)[1] * (ticks[-1] > 0)
    return dict(zip(names, (np.maximum(fitted, 0.0) * TICK_SECONDS * 1e3).tolist(), strict=True))


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
