"""Run a model stage by stage over many samples, so that each layer can be changed before the next one sees it.

One forward pass in total: a tensor is kept for all batches until its last reader has run. Memory is therefore
that of the widest cut of the graph times the samples; `samples_within` says how many fit a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy.typing as npt
import onnx

from toolchain.graph.facts import Fact
from toolchain.graph.index import GraphIndex
from toolchain.targets.onnxruntime import ReferenceSession

Array = npt.NDArray[Any]
Batches = list[Array]
Visit = Callable[[onnx.NodeProto, Batches], Batches]
"""Called with a node and its first output in every batch; returns what the nodes after it shall see."""
Prepare = Callable[[onnx.NodeProto, Mapping[str, Batches]], None]
"""Called before a stop or the first node runs, with all tensors that are still to be read; may change parameters."""
Stage = Sequence[int]
"""The numbers of nodes that follow one another."""


def run_layerwise(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]], visit: Visit | None = None
) -> dict[str, Batches]:
    """Run every node on all batches in turn and return the graph's outputs."""
    index = GraphIndex(model)
    return _run(index, [[number] for number in range(len(index.nodes))], feeds, visit=visit)


def run_between(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]], stops: Collection[str], prepare: Prepare
) -> dict[str, Batches]:
    """Run all batches up to each stop in turn and return the graph's outputs.

    A stop is a node, named by its first output, that is prepared before it runs. What lies between two of them runs in
    one go, with ONNX Runtime's optimiser: within its rounding, twice as fast as node by node.
    """
    index = GraphIndex(model)
    return _run(index, list(_stages(index, stops)), feeds, prepare=prepare)


def samples_within(index: GraphIndex, facts: Mapping[str, Fact], limit_bytes: int) -> int:
    """Return how many samples a layerwise run can hold within a limit, the widest cut of the graph counted."""
    sizes = {name: 4 * prod(fact.shape or (0,)) for name, fact in facts.items() if name not in index.constants}
    reads = [_read(index, [number]) for number in range(len(index.nodes))]
    last = {name: number for number, names in enumerate(reads) for name in names}
    alive, widest = sum(sizes.get(item.name, 0) for item in index.inputs), 1
    for number, node in enumerate(index.nodes):
        alive += sum(sizes.get(name, 0) for name in node.output)
        widest = max(widest, alive)
        alive -= sum(sizes.get(name, 0) for name in reads[number] if last[name] == number)
    shape = facts[index.inputs[0].name].shape or (1,)
    return max(1, limit_bytes * max(shape[0], 1) // widest)


def _run(
    index: GraphIndex,
    stages: Sequence[Stage],
    feeds: Sequence[Mapping[str, Array]],
    *,
    visit: Visit | None = None,
    prepare: Prepare | None = None,
) -> dict[str, Batches]:
    reads = [_read(index, stage) for stage in stages]
    readers = Counter(chain.from_iterable(reads))
    readers.update(item.name for item in index.outputs)
    values: dict[str, Batches] = {item.name: [batch[item.name] for batch in feeds] for item in index.inputs}
    for stage, read in zip(stages, reads, strict=True):
        first, last = index.nodes[stage[0]], index.nodes[stage[-1]]
        if prepare:
            prepare(first, values)
        readers.subtract(read)
        wanted = [name for number in stage for name in index.node_outputs[number] if name and readers[name]]
        results = _run_stage(index, stage, wanted, values, optimise=prepare is not None) if wanted else {}
        if visit and last.output[0] in results:
            results[last.output[0]] = visit(last, results[last.output[0]])
        values.update(results)
        for name in (name for name in read if not readers[name]):
            values.pop(name, None)
    return {item.name: values[item.name] for item in index.outputs}


def _read(index: GraphIndex, stage: Stage) -> list[str]:
    """Return what some nodes read, each name once."""
    return list(dict.fromkeys(chain.from_iterable(index.names_read(number) for number in stage)))


def _stages(index: GraphIndex, stops: Collection[str]) -> Iterator[Stage]:
    stage: list[int] = []
    for number, made in enumerate(index.node_outputs):
        if stage and made[0] in stops:
            yield stage
            stage = []
        stage.append(number)
    if stage:
        yield stage


def _run_stage(
    index: GraphIndex, stage: Stage, wanted: Sequence[str], values: Mapping[str, Batches], *, optimise: bool
) -> dict[str, Batches]:
    reads = _read(index, stage)
    live = {name: values[name] for name in reads if name in values}
    constants = [index.constants[name] for name in reads if name in index.constants]
    nodes = [index.nodes[number] for number in stage]
    model = _stage_model(index.model, nodes, live, wanted, constants)
    session = ReferenceSession(model, optimise=optimise)
    batches = len(next(iter(values.values())))
    results = [session.run({name: live[name][number] for name in live}) for number in range(batches)]
    return {name: [result[name] for result in results] for name in wanted}


def _stage_model(
    whole: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    live: Mapping[str, Batches],
    wanted: Sequence[str],
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(batches[0].dtype) for name, batches in live.items()}
    inputs = [onnx.helper.make_tensor_value_info(name, types[name], _shape(live[name])) for name in live]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    graph = onnx.helper.make_graph(nodes, "stage", inputs, outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=list(whole.opset_import), ir_version=whole.ir_version)


def _shape(batches: Batches) -> list[int | None]:
    """Return the sizes that all batches share, the others open.

    Without the length of a vector of sizes the runtime takes a shape that is joined from several for an empty one.
    """
    sizes = zip(*(batch.shape for batch in batches), strict=True)
    return [size[0] if len(set(size)) == 1 else None for size in sizes]
