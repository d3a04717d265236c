import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pipelines import Shell
from small import network

TINY = "multiprocessors=1,tile_rows=16,tile_columns=8,tile_depth=8"


@pytest.fixture
def shell(tmp_path):
    """A checkout with a model whose name a careless shell would split, and samples for it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    onnx.save(network(batch="N"), folder / "my $(touch oops) net.onnx")
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((32, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=samples, y=np.arange(32) % 4)
    return Shell(folder, tmp_path)


@pytest.fixture
def asked():
    """What both pipelines are asked for."""
    return {
        "model": "my $(touch oops) net.onnx",
        "budget": "60%",
        "data": "data.npz",
        "target": "null",
        "target_options": TINY,
        "max_ratio": "0.6",
        "min_accuracy": "1",
    }
