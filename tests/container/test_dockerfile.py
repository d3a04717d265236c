"""The Dockerfile, read: by hadolint, and against what pyproject.toml asks for."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINS = ROOT / ".docker"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(*names: str) -> dict[str, str]:
    """Return package name to version."""
    lines = [line for name in names for line in (PINS / name).read_text().splitlines()]
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines)}


def asked(*extras: str) -> list[Requirement]:
    """Return what the project requires, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (("requirements.txt",), ("openvino", "tensorrt-rtx")),
        (("requirements.txt", "requirements-test.txt"), ("test",)),
        (("requirements.txt", "requirements-gpu.txt"), ("tensorrt",)),
    ],
)
def test_the_pins_are_what_the_project_asks_for(files, extras):
    pins = pinned(*files)
    for requirement in asked(*extras):
        assert canonical(requirement.name) in pins, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(pins[canonical(requirement.name)]), requirement


def test_every_pin_is_exact():
    for path in PINS.glob("*.txt"):
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line), f"{path.name}: {line}"
