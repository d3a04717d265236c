"""The README's commands, read from it and run as they stand: in a shell, in a folder with the model that ships."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, environment

README = (ROOT / "README.md").read_text()
PLACES = {
    "[--data PATH]": "--data val.npz",
    "A.onnx B.onnx": "net.onnx build/model.onnx",
    "MODEL": "net.onnx",
    "BUNDLE": "build",
    "-o FILE": "-o engine",
    "-o DIR": "-o emitted",
}
"""What stands for something of the user's, in the order in which it is filled in."""

ELSEWHERE = {
    "pip install .": "tests/container installs the project",
    "pip install '.[test]' && pytest": "this is it",
    "docker build": "tests/container builds the image",
    "docker run": "tests/container runs the image",
    "python tests/bench/": "a benchmark of hours",
}
"""Beginnings of commands that are not run here, and why."""

QUICK_START = "prunec compile models/digits_resnet.onnx --budget 60% --data models/digits.npz -o build/"
MAY_DECIDE = (0, 4, 5, 7)
"""Ends of a command that measures: on a busy machine it may miss, or not be able to tell."""


def documented() -> list[str]:
    """Return every command of the README: indented lines, first cells of tables, and what is quoted in the text."""
    lines = [line[4:] for line in README.replace(" \\\n", " ").splitlines() if re.match(r"    [a-z]", line)]
    cells = re.findall(r"^\| `(prunec [^`]*)`", README, re.MULTILINE)
    quoted = re.findall(r"`((?:python|pip install) [^`]*)`", README)
    return [" ".join(line.split()) for line in lines + cells + quoted]


def run_here() -> list[str]:
    return [command for command in documented() if not command.startswith(tuple(ELSEWHERE))]


def filled(command: str) -> str:
    for place, value in PLACES.items():
        command = command.replace(place, value)
    return command


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one as a user would, with `prunec` on the path."""
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", filled(command)],
        cwd=folder,
        env=environment(folder / ".cache", PATH=path),
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )


def test_every_command_is_run_or_has_a_reason():
    commands = documented()
    assert QUICK_START in commands
    assert len(run_here()) >= 14
    for beginning in ELSEWHERE:
        assert any(command.startswith(beginning) for command in commands), f"the README has no '{beginning}' any more"
    programs = {shlex.split(command)[0] for command in run_here()}
    assert programs == {"prunec", "python"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the model and its samples under the names that the README uses, and the quick start's bundle."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "bin").mkdir()
    (folder / "bin" / "prunec").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m toolchain.cli.main "$@"\n')
    (folder / "bin" / "prunec").chmod(0o755)
    (folder / "models").symlink_to(ROOT / "models")
    shutil.copyfile(ROOT / "models" / "digits_resnet.onnx", folder / "net.onnx")
    shutil.copyfile(ROOT / "models" / "digits.npz", folder / "val.npz")
    with np.load(folder / "val.npz") as data:
        np.savez(folder / "train.npz", x=data["x"][:300], y=data["y"][:300])
    done = shell(QUICK_START, folder)
    assert done.returncode in MAY_DECIDE, done.stderr
    assert "| original |" in (folder / "build" / "report.md").read_text()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [item for item in dict.fromkeys(run_here()) if item != QUICK_START])
def test_a_command_of_the_readme_runs(command, folder):
    if "tensorrt-rtx" in command:
        pytest.importorskip("tensorrt_rtx")
    done = shell(command, folder)
    measures = any(name in command for name in ("compile", "verify build", "prunec bench"))
    assert done.returncode in (MAY_DECIDE if measures else (0,)), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout or not command.startswith("prunec")
    for option, name in re.findall(r"(-o|--junit|--markdown|--outputs) (\S+)", filled(command)):
        assert (folder / name).exists(), f"{option} {name}"
