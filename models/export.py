"""Export a reference network to ONNX: `python -m models.export resnet20 --weights FILE -o out.onnx`."""

import argparse
import importlib.util
import io
import os
import pickle
import struct
import textwrap
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from models.registry import networks
from toolchain.errors import EnvironmentMissing, PrunecError, UsageError


class Exporter(StrEnum):
    """The two exporters of PyTorch; their graphs of one network differ."""

    TORCHSCRIPT = "torchscript"
    DYNAMO = "dynamo"


OPSETS = {Exporter.TORCHSCRIPT: range(13, 21), Exporter.DYNAMO: range(18, 24)}
DEFAULT_OPSET = 18
CALIBRATION_BATCH = 8
# What torch.load raises, by the bytes it meets, for a file that torch.save did not write.
NOT_A_CHECKPOINT = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def export(
    module: nn.Module,
    example_input: Tensor,
    path: Path,
    *,
    exporter: Exporter = Exporter.TORCHSCRIPT,
    opset: int = DEFAULT_OPSET,
    symbolic_batch: bool = True,
    outputs: Sequence[str] = ("logits",),
) -> None:
    """Write a module in evaluation mode to an ONNX file with the input `input` and these outputs.

    TorchScript keeps each BatchNormalization as a node; dynamo folds it into the convolution before it.

    Raises:
        UsageError: the exporter does not write this opset, or the file cannot be written.
        EnvironmentMissing: dynamo without onnxscript.
    """
    opsets = OPSETS[exporter]
    if opset not in opsets:
        raise UsageError(f"the {exporter} exporter cannot write opset {opset}", hint=f"use {opsets[0]} to {opsets[-1]}")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist", hint="create it first")
    convert = _torchscript if exporter is Exporter.TORCHSCRIPT else _dynamo
    model = convert(module.eval(), example_input, opset, symbolic_batch, outputs)
    onnx.checker.check_model(model)
    _write(model, path)


def _write(model: onnx.ModelProto, path: Path) -> None:
    # Writing in place would, when interrupted, lose the file that was there.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        onnx.save(model, temporary)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _torchscript(
    module: nn.Module, example_input: Tensor, opset: int, symbolic_batch: bool, outputs: Sequence[str]
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (example_input,),
        buffer,
        dynamo=False,
        # The default folds BatchNormalization away; PRESERVE keeps the nodes and the evaluation mode.
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=opset,
        input_names=["input"],
        output_names=list(outputs),
        dynamic_axes={name: {0: "N"} for name in ("input", *outputs)} if symbolic_batch else None,
    )
    return onnx.load_from_string(buffer.getvalue())


def _dynamo(
    module: nn.Module, example_input: Tensor, opset: int, symbolic_batch: bool, outputs: Sequence[str]
) -> onnx.ModelProto:
    if importlib.util.find_spec("onnxscript") is None:
        raise EnvironmentMissing("the dynamo exporter needs onnxscript", hint="pip install onnxscript")
    program = torch.onnx.export(
        module,
        (example_input,),
        dynamo=True,
        verbose=False,
        opset_version=opset,
        input_names=["input"],
        output_names=list(outputs),
        dynamic_shapes=({0: torch.export.Dim("N")},) if symbolic_batch else None,
    )
    return program.model_proto


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a state dict, bare or under `state_dict`, with or without the prefix `module.` of nn.DataParallel.

    Raises:
        UsageError: the file cannot be read, holds no state dict, or one of another network.
    """
    state = {name.removeprefix("module."): value for name, value in _read_state_dict(path).items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        # PyTorch lists every parameter that differs; the first ones tell enough.
        reason = textwrap.shorten(str(error).split("\n\t")[1], 120)
        raise UsageError(f"{path} does not fit {type(module).__name__}: {reason}") from error


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    no_state_dict = UsageError(f"{path} holds no state dict", hint="write one by torch.save")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except NOT_A_CHECKPOINT as error:
        raise no_state_dict from error
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise no_state_dict
    return state


@torch.no_grad()
def randomise_batchnorm(module: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """Give every BatchNorm random scales and shifts, then the statistics of random inputs.

    Without this the activations of a deep random network vanish, and a comparison of outputs compares zeros.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = 1.0
        norm.train()
    module(torch.randn(CALIBRATION_BATCH, *input_shape))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.export", description="Export a network to ONNX.")
    parser.add_argument("name", choices=networks(), metavar="NAME", help=", ".join(networks()))
    parser.add_argument("--weights", type=Path, metavar="FILE", help="state dict; random weights without it")
    parser.add_argument("--exporter", choices=[e.value for e in Exporter], default=Exporter.TORCHSCRIPT.value)
    parser.add_argument("--opset", type=int, default=DEFAULT_OPSET, metavar="N")
    parser.add_argument("--batch", type=int, metavar="N", help="static batch size; symbolic without it")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.batch is not None and options.batch < 1:
        raise UsageError(f"the batch is {options.batch}", hint="--batch takes a number from 1")
    network = networks()[options.name]
    torch.manual_seed(options.seed)
    module = network.build()
    if options.weights:
        load_weights(module, options.weights)
    else:
        randomise_batchnorm(module, network.input_shape)
    export(
        module,
        # Not a batch of one where it is symbolic: the exporter would take the one for a constant.
        torch.randn(options.batch or 2, *network.input_shape),
        options.output,
        exporter=Exporter(options.exporter),
        opset=options.opset,
        symbolic_batch=options.batch is None,
        outputs=network.outputs,
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command line; an error is one line and its exit code."""
    parser = _arguments()
    options = parser.parse_args(argv)
    try:
        _run(options)
    except PrunecError as error:
        parser.exit(error.exit_code, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
