"""Run the checks that need a GPU and write one JSON: `python tests/gpu/run.py [gpu.json]`."""

import os
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "gpu.json").absolute()
    os.environ["PRUNEC_GPU_REPORT"] = str(path)
    code = pytest.main([str(Path(__file__).parent), "-rs"])
    print(f"{path}: written")
    sys.exit(code)
