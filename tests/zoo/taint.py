"""The taint oracle: groups found by watching numbers, whatever the ops.

1. Cut the network at its weighted layers: what they produce becomes an input, what they consume an output.
2. Perturb one produced channel, at all its positions, and see which consumed channels move.
3. Connected components of produced and consumed channels are units; what moves an output of the network is fixed.

It knows nothing of op semantics. Told to it is what no number shows: the channels of a grouped convolution go in
step through all groups. A channel through which a perturbation does not get (a dead ReLU) needs another draw.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from toolchain.graph.facts import bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex, int_attribute
from toolchain.targets.onnxruntime import ReferenceSession

ROWS = 64
"""Rows of the batch: each but the last has another channel perturbed."""

DRAWS = range(3, 25)
"""How often a layer's channels are perturbed: the fewer positions they have, the more often, for each may be dead."""
ENOUGH_POSITIONS = 192
STRENGTH = 4.0
MOVED = 1e-4
"""A difference, relative to the channel's largest value, that rounding does not make."""
FAINT = 1e-6
"""What a channel's largest value is taken for at least."""

OUTPUT = 0
"""The node of the taint graph that stands for all outputs of the network."""

Array = npt.NDArray[np.float32]
Channel = tuple[str, int]
"""A weight and a position along its output axis."""


@dataclass(frozen=True)
class Layer:
    """A weighted layer: the tensor it reads and the one it makes; channels lie along `axis` in both."""

    weight: str
    source: str
    result: str
    axis: int
    groups: int


@dataclass(frozen=True)
class Taint:
    """Produced channels that stand or fall together, and those that move an output."""

    units: frozenset[frozenset[Channel]]
    fixed: frozenset[Channel]


def taint(model: onnx.ModelProto, seed: int = 0) -> Taint:
    """Find the units of a normalised model with an open batch by perturbing it."""
    index = GraphIndex(model)
    facts = infer_facts(index, bind_symbols(model, variant=ROWS - 2))
    shapes = {name: fact.shape or () for name, fact in facts.items()}
    layers = list(_layers(index))
    inputs = {item.name for item in index.inputs}
    consumers = [layer for layer in layers if layer.source not in inputs]
    nodes = _number_channels(layers, shapes)
    outputs = {item.name for item in index.outputs}
    edges = [_in_step(nodes[name], layer.groups) for layer in layers for name in (layer.source, layer.result)]
    rng = np.random.default_rng(seed)
    axes = {item.source: item.axis for item in consumers} | dict.fromkeys(outputs)
    for layer in layers:
        part = _between(model, layers, layer.result, axes.keys())
        session = ReferenceSession(part) if part.graph.node else None
        inputs = {layer.result, *(item.name for item in part.graph.input)}
        for _ in range(_draws(shapes[layer.result], layer.axis)):
            feeds = {name: _draw(shapes[name], rng) for name in sorted(inputs)}
            for channels, perturbed in _perturbations(feeds[layer.result], layer.axis, rng):
                fed = {**feeds, layer.result: perturbed}
                found = {**fed, **(session.run({i.name: fed[i.name] for i in part.graph.input}) if session else {})}
                origin = nodes[layer.result][channels]
                for name in axes.keys() & found.keys():
                    target = np.array([OUTPUT]) if name in outputs else nodes[name]
                    edges.append(_moved(found[name], axes[name], origin, target))
    return _components(layers, nodes, np.concatenate(edges, axis=1))


def _layers(index: GraphIndex) -> Iterator[Layer]:
    """Yield layers with weights; a depthwise convolution is each channel's own affair and stays in the graph."""
    for node in index.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[1] not in index.constants:
            continue
        groups = int_attribute(node, "group", 1)
        dims = index.constants[node.input[1]].dims
        inputs = dims[0] // groups if node.op_type == "ConvTranspose" else dims[1]
        if groups > 1 and inputs == 1:
            continue
        yield Layer(node.input[1], node.input[0], node.output[0], -1 if node.op_type == "MatMul" else 1, groups)


def _number_channels(
    layers: Sequence[Layer], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.int64]]:
    """Give each channel of what is produced or consumed a node of the taint graph."""
    nodes = {}
    following = OUTPUT + 1
    for layer in layers:
        for name in (layer.source, layer.result):
            if name not in nodes:
                nodes[name] = np.arange(following, following + shapes[name][layer.axis])
                following += len(nodes[name])
    return nodes


def _between(model: onnx.ModelProto, layers: Sequence[Layer], result: str, ends: Collection[str]) -> onnx.ModelProto:
    """Return the part of the network from what one layer makes to what others read, without any weighted layer."""
    results = {layer.result for layer in layers}
    nodes = [node for node in model.graph.node if node.output[0] not in results]
    reached = {result}
    for node in nodes:
        if reached.intersection(node.input):
            reached.update(node.output)
    wanted = sorted(reached.intersection(ends) - {result})
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(filter(None, node.input))
            kept.append(node)
    graph = onnx.GraphProto(name="between")
    graph.node.extend(reversed(kept))
    graph.initializer.extend(item for item in model.graph.initializer if item.name in needed)
    graph.input.extend(item for item in model.graph.input if item.name in needed)
    fed = sorted(results & needed)
    graph.input.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in fed)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _draws(shape: tuple[int, ...], axis: int) -> int:
    positions = prod(shape) // (shape[0] * shape[axis])
    return min(max(ENOUGH_POSITIONS // positions, DRAWS[0]), DRAWS[-1])


def _draw(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw one row and repeat it over the batch."""
    return np.repeat(rng.standard_normal((1, *shape[1:])).astype(np.float32), ROWS, axis=0)


def _perturbations(whole: Array, axis: int, rng: np.random.Generator) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    """Yield channels, and the tensor with one of them perturbed in each row; the last row is left alone."""
    count = whole.shape[axis]
    for first in range(0, count, ROWS - 1):
        channels = np.arange(first, min(first + ROWS - 1, count))
        perturbed = whole.copy()
        view = np.moveaxis(perturbed, axis, 1)
        rows = np.arange(len(channels))
        noise = STRENGTH * rng.standard_normal(view[rows, channels].shape)
        view[rows, channels] += noise.astype(np.float32)
        yield channels, perturbed


def _moved(
    value: Array, axis: int | None, origin: npt.NDArray[np.int64], target: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return edges (2, n) from each row's channel to the channels of `value` that differ from the last row's."""
    channels = value.reshape(len(value), 1, -1) if axis is None else np.moveaxis(value, axis, 1)
    channels = channels.reshape(*channels.shape[:2], -1)
    scale = np.maximum(np.abs(channels[-1]).max(1, keepdims=True), FAINT)
    rows, columns = np.nonzero((np.abs(channels[: len(origin)] - channels[-1]) > MOVED * scale).any(2))
    return np.stack([origin[rows], target[columns]])


def _in_step(nodes: npt.NDArray[np.int64], groups: int) -> npt.NDArray[np.int64]:
    return np.stack([nodes, np.tile(nodes[: len(nodes) // groups], groups)])


def _components(
    layers: Sequence[Layer], nodes: Mapping[str, npt.NDArray[np.int64]], edges: npt.NDArray[np.int64]
) -> Taint:
    size = int(edges.max()) + 1
    matrix = coo_array((np.ones(edges.shape[1], np.int8), tuple(edges)), shape=(size, size))
    _, component = connected_components(matrix, directed=False)
    members: dict[int, set[Channel]] = defaultdict(set)
    for layer in layers:
        for position, node in enumerate(nodes[layer.result]):
            members[int(component[node])].add((layer.weight, position))
    fixed = frozenset(members.pop(int(component[OUTPUT]), ()))
    return Taint(frozenset(map(frozenset, members.values())), fixed)
