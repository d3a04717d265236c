"""How large a model may be: checked before anything is built from it, so that a small file cannot take the machine.

Every bound is far above any CNN: the largest published ones have some 10,000 nodes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import onnx

from toolchain.errors import ModelError
from toolchain.graph.index import subgraphs

MAX_FILE_BYTES = onnx.checker.MAXIMUM_PROTOBUF
"""What protobuf can hold; larger models keep their weights in external data."""
MAX_FIELDS = 1_000_000
"""Protobuf fields outside tensors: each takes a few bytes in the file and some hundred in memory."""
MAX_NODES = 50_000
"""Nodes, those of subgraphs and of expanded functions counted."""
MAX_SUBGRAPH_DEPTH = 8
"""Loops and branches within one another."""
MAX_NAME_LENGTH = 4096
"""Characters of a tensor's, node's, op's or dimension's name."""
MAX_TENSOR_ELEMENTS = 1 << 31
"""Elements of one tensor; TensorRT has the same bound."""

# Fields that hold messages with nodes somewhere below them, by message: field number to the message it holds.
_NESTED = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node"},
    "Function": {7: "Node"},
    "Node": {5: "Attribute"},
    "Attribute": {6: "Graph", 11: "Graph"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

FunctionKey = tuple[str, str, str]


def check_file(path: Path) -> None:
    """Raise ModelError where the file is too large, or has more structure than `MAX_FIELDS`."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        what = f"{path}: {size} bytes, more than the {MAX_FILE_BYTES} that an ONNX file can have"
        raise ModelError(what, hint="save it with external data")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number, _ in enumerate(_fields(content)):
            if number >= MAX_FIELDS:
                what = f"{path}: more than {MAX_FIELDS} fields outside its tensors"
                raise ModelError(what, hint="this is no network that can be compiled")


def _fields(content: mmap.mmap) -> Iterator[int]:
    """Yield the number of every field of a model that is outside of tensors; end at the first that is broken."""
    pending = [("Model", 0, len(content))]
    while pending:
        message, position, end = pending.pop()
        nested = _NESTED[message]
        while position < end:
            tag, position = _varint(content, position, end)
            yield tag >> 3
            kind, size = tag & 7, 0
            if kind == _VARINT:
                _, position = _varint(content, position, end)
            elif kind == _BYTES:
                size, position = _varint(content, position, end)
                if size and tag >> 3 in nested and position + size <= end:
                    pending.append((nested[tag >> 3], position, position + size))
            elif kind in (_FIXED32, _FIXED64):
                size = 4 if kind == _FIXED32 else 8
            else:
                break  # the parser says what is wrong with it
            position += size


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and where it ends."""
    value = shift = 0
    while position < end and shift < 70:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, position


def check_model(path: Path, model: onnx.ModelProto) -> None:
    """Raise ModelError for too many or too deep nodes, a name that is too long, a tensor of impossible size."""
    _check_depth(path, model)
    _check_names(path, model)
    _check_sizes(path, model)
    count = _expanded_nodes(path, model)
    if count > MAX_NODES:
        found = f"{count}" if count < 10**9 else "thousands of millions of"
        what = f"{path}: {found} nodes, functions expanded; at most {MAX_NODES} are taken"
        raise ModelError(what, hint="compile the parts of the network one by one")


def check_elements(where: str, shape: Iterable[int]) -> None:
    """Raise ModelError where a tensor of this shape cannot be meant."""
    sizes = tuple(shape)
    if sizes and min(sizes) < 0:
        raise ModelError(f"{where} has an axis of size {min(sizes)}", hint="export it again")
    if prod(sizes) > MAX_TENSOR_ELEMENTS:
        listed = ", ".join(map(str, sizes[:8])) + (", ..." if len(sizes) > 8 else "")
        what = f"{where} would have [{listed}] elements, more than {MAX_TENSOR_ELEMENTS} in all"
        raise ModelError(what, hint="check the sizes in the model, or deploy it at smaller ones")


def graphs_in(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield the main graph and every graph below it; those of functions too."""
    yield from (graph for graph, _ in _graphs_with_depth(model))


def _graphs_with_depth(model: onnx.ModelProto) -> Iterator[tuple[onnx.GraphProto, int]]:
    nodes = (node for function in model.functions for node in function.node)
    pending = [(model.graph, 0), *((graph, 1) for graph in _subgraphs(nodes))]
    while pending:
        graph, depth = pending.pop()
        yield graph, depth
        pending.extend((inner, depth + 1) for inner in _subgraphs(graph.node))


def _check_depth(path: Path, model: onnx.ModelProto) -> None:
    if any(depth > MAX_SUBGRAPH_DEPTH for _, depth in _graphs_with_depth(model)):
        what = f"{path}: loops and branches more than {MAX_SUBGRAPH_DEPTH} deep"
        raise ModelError(what, hint="export the network without control flow")


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        yield from subgraphs(node)


def _check_names(path: Path, model: onnx.ModelProto) -> None:
    for name in _names(model):
        if len(name) > MAX_NAME_LENGTH:
            what = f"{path}: a name of {len(name)} characters, '{name[:20]}...'; at most {MAX_NAME_LENGTH} are taken"
            raise ModelError(what, hint="export it with shorter names")


def _names(model: onnx.ModelProto) -> Iterator[str]:
    yield from (item.domain for item in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, function.overload, *function.input, *function.output)
        yield from _node_names(function.node)
    for graph in graphs_in(model):
        yield graph.name
        yield from (tensor.name for tensor in graph.initializer)
        yield from (item.name for item in (*graph.input, *graph.output, *graph.value_info))
        yield from (dim.dim_param for item in graph.input for dim in item.type.tensor_type.shape.dim)
        yield from _node_names(graph.node)


def _node_names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (item.name for item in node.attribute)


def _check_sizes(path: Path, model: onnx.ModelProto) -> None:
    for graph in graphs_in(model):
        for tensor in graph.initializer:
            check_elements(f"{path}: parameter '{tensor.name}'", tensor.dims)
    for item in (*model.graph.input, *model.graph.output):
        shape = item.type.tensor_type.shape
        sizes = [dim.dim_value for dim in shape.dim if dim.HasField("dim_value")]
        check_elements(f"{path}: '{item.name}'", sizes)
        if 0 in sizes:
            raise ModelError(f"{path}: '{item.name}' has an axis of size 0", hint="export it with a real size, or none")


def _expanded_nodes(path: Path, model: onnx.ModelProto) -> int:
    """Count the nodes of the model with every function inlined, without inlining any."""
    bodies = {_key(item): list(_callees(item.node)) for item in model.functions}
    sizes: dict[FunctionKey, int] = {}
    for start in bodies:
        pending, callers = [start], set[FunctionKey]()
        while pending:
            key = pending[-1]
            missing = [callee for callee in bodies[key] if callee in bodies and callee not in sizes]
            if not missing:
                sizes[key] = sum(sizes.get(callee, 1) for callee in bodies[key])
                callers.discard(pending.pop())
                continue
            callers.add(key)
            if callers.intersection(missing):
                raise ModelError(f"{path}: function '{key[1]}' ends up calling itself", hint="export it again")
            pending.append(missing[0])
    nested = (callee for graph in graphs_in(model) for callee in _callees(graph.node))
    return sum(sizes.get(callee, 1) for callee in nested)


def _key(function: onnx.FunctionProto) -> FunctionKey:
    return function.domain, function.name, function.overload


def _callees(nodes: Iterable[onnx.NodeProto]) -> Iterator[FunctionKey]:
    yield from ((node.domain, node.op_type, node.overload) for node in nodes)
