import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small import network


@pytest.fixture
def folder(tmp_path):
    """A folder with a small network, net.onnx, and fitting samples, data.npz."""
    onnx.save(network(), tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((32, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=samples, y=np.arange(32) % 4)
    return tmp_path
