"""External data: weights in files beside the model. Only regular files in the model's own folder are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import external_data_helper

from toolchain.errors import ModelError
from toolchain.graph.limits import MAX_NAME_LENGTH, graphs_in

MAX_SHARING = 4
"""How often, on average, the bytes of a file may be claimed: a few tensors share weights, no network all of them."""


def load_external_data(path: Path, model: onnx.ModelProto) -> None:
    """Bring the external tensors of a model into it.

    Refused, whatever a library would do with them: absolute paths, paths that leave the folder, symbolic and hard
    links, anything that is not a regular file, parts that lie outside of their file.

    Raises ModelError that names the tensor.
    """
    external = [tensor for tensor in _tensors(model) if external_data_helper.uses_external_data(tensor)]
    if not external:
        return
    for tensor in external:
        _check_file(path, tensor)
    _check_sharing(path, external)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path}: its external data cannot be loaded ({reason})",
            hint="copy the data file next to the model",
        ) from error


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: initialisers and attributes, those of subgraphs and functions too."""
    for graph in graphs_in(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    nodes = [node for graph in graphs_in(model) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    for node in nodes:
        for item in node.attribute:
            yield from (item.t, *item.tensors)


def _check_file(path: Path, tensor: onnx.TensorProto) -> None:
    location = _entry(tensor, "location")
    where = f"{path}: the data of '{tensor.name}' is said to be in '{location[:100]}'"
    if not 0 < len(location) <= MAX_NAME_LENGTH or not location.isprintable():
        raise ModelError(f"{where}, which is no name of a file", hint="export it again")
    if any(kind(location).is_absolute() or ".." in kind(location).parts for kind in (PurePosixPath, PureWindowsPath)):
        raise ModelError(f"{where}, outside of the model's folder", hint="copy it next to the model, and save again")
    file = path.parent / location
    if file.resolve() != path.parent.resolve() / location:
        raise ModelError(f"{where}, a symbolic link", hint="copy the file itself next to the model")
    if not file.is_file():
        raise ModelError(f"{where}, where no file is", hint="copy the data file next to the model")
    if file.stat().st_nlink > 1:
        raise ModelError(f"{where}, a hard link to a file that has other names", hint="copy the file itself there")


def _check_sharing(path: Path, external: list[onnx.TensorProto]) -> None:
    """Refuse many tensors that each claim the whole of one file: it would be read once for each."""
    files = {path.parent / _entry(tensor, "location") for tensor in external}
    there = sum(file.stat().st_size for file in files)
    claimed = sum(_claimed(path, tensor) for tensor in external)
    if claimed > MAX_SHARING * there:
        what = f"{path}: its tensors claim {claimed} bytes of files that hold {there}"
        raise ModelError(what, hint="export it again")


def _claimed(path: Path, tensor: onnx.TensorProto) -> int:
    size = (path.parent / _entry(tensor, "location")).stat().st_size
    try:
        offset, length = int(_entry(tensor, "offset") or 0), int(_entry(tensor, "length") or size)
    except ValueError as error:
        raise ModelError(f"{path}: offset or length of '{tensor.name}' is no number", hint="export it again") from error
    if not 0 <= offset <= size or not 0 <= length <= size:
        what = f"{path}: the data of '{tensor.name}' is said to be {length} bytes at {offset} in a file of {size}"
        raise ModelError(what, hint="the file may be cut off: download it again")
    return min(length, size - offset)


def _entry(tensor: onnx.TensorProto, key: str) -> str:
    return next((item.value for item in tensor.external_data if item.key == key), "")
