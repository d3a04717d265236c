"""TensorRT's profile, read against the engine inspector's account of the layers and the model they were built from.

With detailed profiling information, which Polygraphy asks for, an engine says of each of its layers from which ONNX
nodes it came: `[ONNX Layer: conv1]\\x1f[ONNX Layer: relu1]`. The parser calls a node without a name after its first
output, `node_of_y`. The profiler and the
inspector call a layer by the same name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from toolchain.graph.index import GraphIndex
from toolchain.targets.layer_time import WEIGHTED, LayerTime, first_outputs, names_to_nodes, share_nodes

NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f\[]|$)")
UNNAMED = "node_of_"


@dataclass(frozen=True)
class EngineLayer:
    """A layer of an engine, by its name in profiles; `nodes` are the names of the ONNX nodes it came from."""

    name: str
    layer_type: str
    nodes: tuple[str, ...]
    outputs: tuple[str, ...]


def read_layers(information: str) -> tuple[EngineLayer, ...]:
    """Return the layers in the JSON of the engine inspector, in the order they run.

    An engine that was built without detailed information lists names alone; its layers then came from no known node.
    """
    return tuple(_layer(item) for item in json.loads(information)["Layers"])


def layer_times(
    model: onnx.ModelProto, layers: Sequence[EngineLayer], samples_ms: Mapping[str, Sequence[float]]
) -> tuple[LayerTime, ...]:
    """Return what each layer that was profiled took, with the nodes of `model` it computes."""
    source = GraphIndex(model)
    known = names_to_nodes(model)
    ran = [layer for layer in layers if layer.name in samples_ms]
    shares = share_nodes(source, [[known[name] for name in layer.nodes if name in known] for layer in ran])
    return tuple(
        LayerTime(
            name=layer.name,
            op_type=_op_type(source, share, layer),
            nodes=first_outputs(source, share),
            tensor=_tensor(source, share, layer),
            samples_ms=tuple(samples_ms[layer.name]),
        )
        for layer, share in zip(ran, shares, strict=True)
    )


def _layer(item: str | Mapping[str, object]) -> EngineLayer:
    if isinstance(item, str):
        return EngineLayer(item, "", (), ())
    outputs = item.get("Outputs") or []
    assert isinstance(outputs, list)
    return EngineLayer(
        name=str(item["Name"]),
        layer_type=str(item.get("LayerType", "")),
        nodes=tuple(name.removeprefix(UNNAMED) for name in NODE.findall(str(item.get("Metadata", "")))),
        outputs=tuple(str(output["Name"]) for output in outputs),
    )


def _op_type(source: GraphIndex, share: Sequence[int], layer: EngineLayer) -> str:
    """Return the op that a layer is there for: its weighted one, or its first; the library's word where it has none."""
    ops = [source.nodes[number].op_type for number in share]
    return next((op for op in ops if op in WEIGHTED), ops[0] if ops else layer.layer_type)


def _tensor(source: GraphIndex, share: Sequence[int], layer: EngineLayer) -> str:
    """Return the tensor of the model that a layer writes: what its last node writes, or what it moves by that name."""
    if share:
        return source.nodes[share[-1]].output[0]
    inputs = {item.name for item in source.inputs}
    moved = [name for name in layer.outputs if name in source.producers or name in inputs]
    return moved[0] if moved else ""
