"""Where in the network a node belongs, read from the names that exporters leave.

1. PyTorch's older exporter    node "/layer1/layer1.0/conv1/Conv"          layer1, 0, conv1
2. PyTorch's newer exporter    metadata "pkg.torch.onnx.name_scopes"       layer1, 0, conv1
3. dotted node names           node "layer1.0.conv1"                       layer1, 0, conv1
4. dotted weight names         weight "layer1.0.conv1.weight"              layer1, 0, conv1

Any other node belongs to the network itself.
"""

from __future__ import annotations

import ast
import keyword
import re

import onnx

from toolchain.graph.index import GraphIndex

SCOPES = "pkg.torch.onnx.name_scopes"


def module_path(index: GraphIndex, node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the names of the modules around a node, the outermost first; its own layer's name is the last."""
    if "/" in node.name:
        return _slashed(node.name)
    scopes = next((item.value for item in node.metadata_props if item.key == SCOPES), "")
    if scopes:
        return _scoped(scopes)
    parts = tuple(node.name.split("."))
    if len(parts) > 1 and node.op_type not in parts and all(parts):
        return parts
    weights = [name for name in node.input[1:] if name in index.constants and name.count(".") > 0]
    if weights and "::" not in weights[0] and "/" not in weights[0]:
        return tuple(part for part in weights[0].split(".")[:-1] if part)
    return (node.name,) if _is_given(node) else ()


def _is_given(node: onnx.NodeProto) -> bool:
    """Tell a name that somebody chose from one made of op and number."""
    made = re.fullmatch(rf"({node.op_type}|node|n)?[_.]?\w*?[_.]?\d*", node.name, re.IGNORECASE)
    return bool(node.name) and node.name.isidentifier() and (made is None or not re.search(r"[_.]\d+$", node.name))


def _slashed(name: str) -> tuple[str, ...]:
    """Drop the op at the end, and the parent's name that PyTorch repeats in a child's."""
    parts: list[str] = []
    previous = ""
    for segment in name.strip("/").split("/")[:-1]:
        own = segment.removeprefix(f"{previous}.") if previous else segment
        parts += [part for part in own.split(".") if part]
        previous = segment
    return tuple(parts)


def _scoped(text: str) -> tuple[str, ...]:
    """Take the innermost dotted scope; the last entry is the node's own name."""
    try:
        scopes = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return ()
    inner = [scope for scope in scopes[:-1] if isinstance(scope, str) and scope]
    return tuple(part for part in inner[-1].split(".") if part) if inner else ()


def identifier(name: str, fallback: str) -> str:
    """Make a public name that Python takes: a bare number is put behind the fallback."""
    cleaned = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_")
    if not cleaned:
        return fallback
    if cleaned[0].isdigit():
        return f"{fallback}{cleaned}"
    return f"{cleaned}_" if keyword.iskeyword(cleaned) else cleaned


def class_name(path: tuple[str, ...]) -> str:
    """Name the class of a block after its own name, or its parent's where that is a number."""
    words = [part for part in path if not part.isdigit()]
    stem = re.sub(r"\d+$", "", identifier(words[-1], "block")) if words else ""
    camel = "".join(part[:1].upper() + part[1:] for part in stem.split("_") if part)
    return f"{camel}Block" if path[-1].isdigit() or not camel else camel


def unique(name: str, taken: set[str]) -> str:
    """Number a name until it is free, and take it."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name}{'_' if name[-1:].isdigit() else ''}{number}", number + 1
    taken.add(found)
    return found
