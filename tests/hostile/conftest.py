import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import onnx
import pytest
from commands import Commands
from small import network


@pytest.fixture(scope="session")
def commands():
    """A warm process that runs `prunec` in forks."""
    with Commands() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """A folder with a small network, net.onnx."""
    place = tmp_path / "place"
    place.mkdir()
    onnx.save(network(), place / "net.onnx")
    return place
