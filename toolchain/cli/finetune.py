"""`prunec finetune`: run the script of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.terminal import Terminal
from toolchain.emit.finetune.run import finetune


def finetune_command(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle, or a folder of `prunec emit`.")],
) -> None:
    """Train BUNDLE's network: the rest goes to its finetune.py, e.g. `prunec finetune build -- --data train.npz`."""
    terminal = Terminal()
    path, figures = finetune(bundle, context.args, on_line=terminal.progress)
    best = figures.validation_percent["best"]
    terminal.line(f"{path}: {best:.2f} % on {figures.validation_samples:,} samples that did not train")
