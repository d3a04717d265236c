"""Content hashes: what a model is, whatever it is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx


def model_sha256(model: onnx.ModelProto) -> str:
    """Return the hash of a model's content: opsets, interface, nodes, weights.

    Parts are hashed one by one, so that models above 2 GB (protobuf's limit for one message) have a hash too.
    """
    graph = model.graph
    digest = hashlib.sha256(str(model.ir_version).encode())
    for part in (
        model.opset_import,
        model.functions,
        graph.input,
        graph.output,
        graph.node,
        graph.initializer,
    ):
        digest.update(len(part).to_bytes(8, "little"))
        for item in part:
            data = item.SerializeToString(deterministic=True)
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
