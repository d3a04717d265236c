"""`prunec emit`: a readable PyTorch module from an ONNX file, pruned or not, and a script that trains it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.compose import load_emitters
from toolchain.cli.terminal import Terminal
from toolchain.data.interface import ModelInterface
from toolchain.data.preprocess import Preprocess
from toolchain.emit.bundle import save_model
from toolchain.emit.finetune.files import SOURCE, TRAINING_FILES, WEIGHTS, write_training_files
from toolchain.errors import UsageError
from toolchain.graph.load import LoadedModel, load_model

MODEL = "model.onnx"


def emit(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    teacher: Annotated[
        Path | None, typer.Option(help="The network that finetune.py imitates: the ONNX file before it was pruned.")
    ] = None,
    preprocess: Annotated[str, typer.Option(help="What finetune.py does to images: resize=256,crop=224,...")] = "",
    batchnorm: Annotated[bool, typer.Option(help="Put BatchNorm back where it was folded into a convolution.")] = True,
) -> None:
    """Write MODEL as PyTorch: model.py with its weights (`import model; model.load()`), and finetune.py."""
    _check_output(output)
    loaded = load_model(model)
    original = load_model(teacher).normalised if teacher else None
    chosen = _preprocess(preprocess, loaded)
    emitters = load_emitters()
    nearest = next(folder for folder in (output.absolute(), *output.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".prunec-") as name:
            folder = Path(name)
            save_model(loaded.normalised, folder / MODEL)
            written = write_training_files(
                folder, loaded.normalised, original, emitters, batchnorm=batchnorm, preprocess=chosen
            )
            output.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.iterdir()):
                path.replace(output / path.name)
    except OSError as error:
        raise UsageError(f"-o {output}: cannot be written ({error.strerror})", hint="name another folder") from error
    lines, numbers = written.source.count("\n"), sum(value.size for value in written.weights.values())
    Terminal().line(f"{output}: {SOURCE} ({lines} lines), {WEIGHTS} ({numbers:,} numbers), finetune.py")


def _preprocess(text: str, loaded: LoadedModel) -> Preprocess | None:
    if not text:
        return None
    image = ModelInterface.of(loaded.normalised).image_input
    if image is None:
        raise UsageError("--preprocess needs one input of rank 4, an image", hint="leave it out")
    return Preprocess.parse(text).resolve(image)


def _check_output(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"-o {directory}: a file is in the way", hint="name a folder")
    for name in (MODEL, *TRAINING_FILES):
        if (directory / name).exists():
            raise UsageError(f"-o {directory}: it holds a {name} already", hint="name another folder")
