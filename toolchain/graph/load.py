"""Load an ONNX file: say at once what it is not, bring external data in safely, check, normalise.

Raises UsageError for a path that cannot be read, ModelError for anything in it that is broken or not supported.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from toolchain.errors import ModelError, UsageError
from toolchain.graph.external_data import load_external_data
from toolchain.graph.facts import bind_symbols, infer_facts
from toolchain.graph.hashing import file_sha256
from toolchain.graph.index import GraphIndex, describe
from toolchain.graph.limits import check_elements, check_file, check_model, graphs_in
from toolchain.graph.normalise import normalise

OLDEST_OPSET = 7
"""Broadcasting means what it means today since opset 7."""

FOREIGN_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"<", "HTML or XML", "download the file itself"),
    (b"{", "JSON", "download the file itself"),
    (b"PK\x03\x04", "a zip archive (a PyTorch .pt file is one)", "export the network to ONNX first"),
    *((bytes([0x80, protocol]), "a Python pickle", "export the network to ONNX first") for protocol in range(2, 6)),
    (b"\x1f\x8b", "gzip-compressed", "unpack it first"),
    (b"\xfd7zXZ", "xz-compressed", "unpack it first"),
    (b"\x89HDF", "HDF5 (Keras)", "convert the network to ONNX first"),
    (b"\x89PNG", "a picture", "give the network itself"),
)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model as it was found, and the same model in normal form."""

    path: Path
    sha256: str
    original: onnx.ModelProto
    normalised: onnx.ModelProto


def load_model(path: Path) -> LoadedModel:
    """Read, check and normalise an ONNX file with its external data."""
    _check_path(path)
    _sniff(path)
    check_file(path)
    model = _parse(path)
    _check_structure(path, model)
    check_model(path, model)
    load_external_data(path, model)
    _check_texts(path, model)
    _check_semantics(path, model)
    normalised = normalise(model)
    _check_weights(path, normalised)
    _check_elements(normalised)
    return LoadedModel(path, file_sha256(path), model, normalised)


def _check_path(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint="check the path of the model")
    if path.is_dir():
        raise UsageError(f"{path}: a folder, not a file", hint="give the .onnx file in it")
    if not path.is_file():
        raise UsageError(f"{path}: not a regular file", hint="give the .onnx file itself")


def _sniff(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})", hint="check its permissions") from error
    if not head:
        raise ModelError(f"{path}: the file is empty", hint="export or download it again")
    for magic, what, hint in FOREIGN_FORMATS:
        if head.lstrip().startswith(magic):
            raise ModelError(f"{path}: not ONNX but {what}", hint=hint)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path}: not ONNX, or cut off in the middle", hint="export or download it again") from error


def _check_structure(path: Path, model: onnx.ModelProto) -> None:
    if not model.graph.node:
        raise ModelError(f"{path}: the graph has no nodes", hint="check that this is the exported network")
    if not model.graph.output:
        raise ModelError(f"{path}: the graph has no outputs", hint="check that this is the exported network")
    if not {item.name for item in model.graph.input} - {item.name for item in model.graph.initializer}:
        raise ModelError(f"{path}: the graph has no inputs", hint="check that this is the exported network")
    if model.graph.sparse_initializer:
        raise ModelError(f"{path}: sparse initialisers are not supported", hint="export it with dense ones")
    name, times = Counter(item.name for item in model.graph.output).most_common(1)[0]
    if times > 1:
        raise ModelError(f"{path}: {times} outputs are called '{name}'", hint="export it again")
    for item in (*model.graph.input, *model.graph.output):
        if item.type.WhichOneof("value") not in (None, "tensor_type"):  # the checker tells where there is none
            raise ModelError(f"{path}: '{item.name}' is not a tensor", hint="only tensors can be fed and compared")
        if item.type.tensor_type.elem_type not in onnx.TensorProto.DataType.values():
            raise ModelError(f"{path}: '{item.name}' is of a type that is not known", hint="export it again")
    _check_opset(path, model)


def _check_opset(path: Path, model: onnx.ModelProto) -> None:
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{path}: opset {opset} is older than {OLDEST_OPSET}",
            hint="convert it with onnx.version_converter.convert_version",
        )
    if opset > onnx.defs.onnx_opset_version():
        raise ModelError(
            f"{path}: opset {opset} is newer than {onnx.defs.onnx_opset_version()}, the newest known here",
            hint="export it with an older one, or update onnx",
        )


def _check_texts(path: Path, model: onnx.ModelProto) -> None:
    """Refuse string attributes that are not UTF-8, as onnx.proto wants them: whatever reads them decodes them."""
    holders: list[onnx.GraphProto | onnx.FunctionProto] = [*graphs_in(model), *model.functions]
    for node in chain.from_iterable(holder.node for holder in holders):
        for item in node.attribute:
            if not all(map(_is_text, (item.s, *item.strings))):
                what = f"{path}: attribute '{item.name}' of {describe(node)} is not UTF-8 text"
                raise ModelError(what, hint="check the model with its exporter")


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_semantics(path: Path, model: onnx.ModelProto) -> None:
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        return  # the checker cannot take it in one piece; facts and execution will
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:  # the latter where a message quotes a bad name
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ModelError(f"{path}: not a valid model ({reason})", hint="export it again") from error


def _check_weights(path: Path, model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{_parameter(path, model, tensor)}: its data does not fit its shape and type"
            raise ModelError(what, hint="export it again") from error
        if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
            what = f"{_parameter(path, model, tensor)} holds NaN or infinity"
            raise ModelError(what, hint="the training has diverged; export a good checkpoint")


def _check_elements(model: onnx.ModelProto) -> None:
    """Refuse tensors of impossible size before anything is computed; sizes that contradict each other are for later."""
    try:
        facts = infer_facts(GraphIndex(model), bind_symbols(model))
    except (ModelError, UsageError):
        return  # under sizes that were guessed; under those of the deployment analysis tells what is wrong
    for name, fact in facts.items():
        check_elements(f"tensor '{name}'", fact.shape or ())


def _parameter(path: Path, model: onnx.ModelProto, tensor: onnx.TensorProto) -> str:
    readers = [describe(node) for node in model.graph.node if tensor.name in node.input]
    return f"{path}: parameter '{tensor.name}' (read by {', '.join(readers[:2]) or 'no node'})"
