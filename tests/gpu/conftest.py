"""What needs a GPU: each test names what it needs, and is skipped with the reason where that is missing.

`python -m pytest tests/gpu` runs what this machine can run. With `PRUNEC_GPU_REPORT=FILE` (`python tests/gpu/run.py`
sets it) the machine's identity, what was missing and what was measured go to one JSON file.
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import polygraphy.config
import pytest

from toolchain.errors import EnvironmentMissing
from toolchain.targets.host import cpu_device, nvidia_device, nvidia_driver
from toolchain.targets.registry import create
from toolchain.targets.tensorrt_family import TensorrtFamily

BACKENDS = {"tensorrt": "", "tensorrt-rtx": "", "onnxruntime": "provider=cuda"}
REPORT = "PRUNEC_GPU_REPORT"
MEASURED = pytest.StashKey[dict]()
OUTCOMES = pytest.StashKey[dict]()


def pytest_configure(config):
    config.stash[MEASURED], config.stash[OUTCOMES] = {}, {}


@pytest.fixture(params=BACKENDS)
def gpu_target(request):
    """A target that runs on the GPU of this machine, each in turn."""
    if not nvidia_device():
        pytest.skip("there is no NVIDIA GPU on this machine")
    try:
        target = create(request.param, BACKENDS[request.param])
    except EnvironmentMissing as error:
        pytest.skip(str(error))
    loaded = "polygraphy.backend.trt" in sys.modules
    if isinstance(target, TensorrtFamily) and loaded and target.is_rtx != polygraphy.config.USE_TENSORRT_RTX:
        pytest.skip(f"one process drives one TensorRT; run this one with -k '[{target.name}]'")
    return target


@pytest.fixture
def measured(request):
    """A record for what the test measures, kept in the report under the test's name."""
    return request.config.stash[MEASURED].setdefault(request.node.name, {})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call" or report.outcome != "passed":
        reason = report.longrepr[2] if report.skipped else report.longreprtext
        item.config.stash[OUTCOMES][item.name] = {"outcome": report.outcome, "reason": reason}
    return report


def pytest_sessionfinish(session):
    if path := os.environ.get(REPORT):
        document = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "gpu": nvidia_device() or "none",
            "driver": nvidia_driver() or "none",
            "host": cpu_device(),
            "python": platform.python_version(),
            "outcomes": session.config.stash[OUTCOMES],
            "measured": session.config.stash[MEASURED],
        }
        Path(path).write_text(json.dumps(document, indent=2) + "\n")
