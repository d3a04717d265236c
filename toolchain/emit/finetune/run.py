"""Run a bundle's fine-tune script as its user would: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.emit.finetune.files import SCRIPTS
from toolchain.errors import DataError, PrunecError, UsageError

NAME = "finetune"
"""What training is called among the passes of a report."""

RESULT, FIGURES = "model.finetuned.onnx", "finetune.result.json"
WRONG_DATA = 2


class Figures(BaseModel):
    """What the script says of its result: scores of `original`, `start` and `best`, the learning rate and its trials,
    and the distance to the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_percent: dict[str, float]
    validation_samples: int
    rate: float
    trials: dict[float, float]
    error: float


def finetune(
    bundle: Path,
    arguments: Sequence[str],
    *,
    output: Path | None = None,
    excluded: Iterable[int] = (),
    on_line: Callable[[str], None] = print,
) -> tuple[Path, Figures]:
    """Train a bundle's network; return the ONNX file with the new weights and how they judged.

    `excluded` are numbers of samples of `--data` that must not be used, such as those that judge the compile.
    The result goes to `output`, by default the bundle; `on_line` gets what the script prints.

    Raises UsageError where the bundle has no script, DataError where the script refuses call or data, PrunecError
    where it fails.
    """
    if not (bundle / SCRIPTS[0]).is_file():
        raise UsageError(f"{bundle}: no {SCRIPTS[0]} in it", hint="name a bundle, or a folder of `prunec emit`")
    target = output or bundle
    with tempfile.TemporaryDirectory(prefix="prunec-") as folder:
        numbers = Path(folder) / "excluded.txt"
        numbers.write_text("\n".join(map(str, excluded)))
        given = ["--exclude", str(numbers)] if numbers.stat().st_size else []
        command = [sys.executable, str((bundle / SCRIPTS[0]).resolve()), "--output", str(target), *given, *arguments]
        code, last = _run(command, on_line)
    if code != 0:
        kind = DataError if code == WRONG_DATA else PrunecError
        raise kind(f"fine-tuning stopped: {last.partition(': ')[2] or f'exit code {code}'}")
    return target / RESULT, Figures.model_validate_json((target / FIGURES).read_text())


def _run(command: Sequence[str], on_line: Callable[[str], None]) -> tuple[int, str]:
    """Return the exit code and the last line; whatever ends this process ends the script."""
    last = ""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last = line.rstrip()
                on_line(last)
        except BaseException:
            process.terminate()
            raise
    return process.returncode, last
