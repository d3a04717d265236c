"""The ways in which people export one network."""

import io
import logging
import warnings
from enum import Enum

import onnx
import torch
from torch import Tensor, nn


class Exporter(Enum):
    """An exporter of torch and what it does with BatchNorm."""

    FOLDED = "torchscript, BatchNorm folded"
    KEPT = "torchscript, BatchNorm kept"
    DYNAMO = "dynamo"


def export(module: nn.Module, example: Tensor, exporter: Exporter) -> onnx.ModelProto:
    """Export with an open batch axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _dynamo(module, example) if exporter is Exporter.DYNAMO else _torchscript(module, example, exporter)


def _torchscript(module: nn.Module, example: Tensor, exporter: Exporter) -> onnx.ModelProto:
    kept = exporter is Exporter.KEPT
    with torch.no_grad():
        found = module(example)
    outputs = ["y"] if isinstance(found, Tensor) else [f"y{number}" for number in range(len(found))]
    stream = io.BytesIO()
    torch.onnx.export(
        module,
        (example,),
        stream,
        dynamo=False,
        opset_version=17,
        training=torch.onnx.TrainingMode.PRESERVE if kept else torch.onnx.TrainingMode.EVAL,
        input_names=["x"],
        output_names=outputs,
        dynamic_axes={name: {0: "N"} for name in ("x", *outputs)},
    )
    return onnx.load_from_string(stream.getvalue())


def _dynamo(module: nn.Module, example: Tensor) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = torch.export.Dim("N", min=1, max=64)
    program = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    return program.model_proto
