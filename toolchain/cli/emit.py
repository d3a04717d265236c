"""`prunec emit`: a readable PyTorch module from an ONNX file, pruned or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from safetensors.numpy import save_file

from toolchain.cli.terminal import Terminal
from toolchain.emit.bundle import replaced
from toolchain.emit.torch_module.emitter import Emitter, emitter_table
from toolchain.emit.torch_module.module import write_torch_module
from toolchain.errors import UsageError
from toolchain.graph.load import load_model
from toolchain.registry import scan

SOURCE = "model.py"
WEIGHTS = "weights.safetensors"


def emit(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    batchnorm: Annotated[bool, typer.Option(help="Put BatchNorm back where it was folded into a convolution.")] = True,
) -> None:
    """Write MODEL as PyTorch: model.py and weights.safetensors, for `import model; model.load()`."""
    _check_output(output)
    loaded = load_model(model)
    emitters = emitter_table(scan("passes.emitters", Emitter))  # type: ignore[type-abstract]
    written = write_torch_module(loaded.normalised, emitters, batchnorm=batchnorm)
    _make_folder(output)
    with replaced(output / WEIGHTS) as temporary:
        save_file(dict(written.weights), temporary)
    with replaced(output / SOURCE) as temporary:
        temporary.write_text(written.source, encoding="utf-8")
    lines, numbers = written.source.count("\n"), sum(value.size for value in written.weights.values())
    Terminal().line(f"{output}: {SOURCE} ({lines} lines), {WEIGHTS} ({numbers:,} numbers)")


def _make_folder(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {directory}: cannot be made ({error.strerror})", hint="name another folder") from error


def _check_output(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"-o {directory}: a file is in the way", hint="name a folder")
    for name in (SOURCE, WEIGHTS):
        if (directory / name).exists():
            raise UsageError(f"-o {directory}: it holds a {name} already", hint="name another folder")
