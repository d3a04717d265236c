"""What statistics, elimination and repair cost: `python tests/bench/compensation_cost.py [--images 256]`.

A network with random weights and random images is cut to half of its multiply-accumulates by the criterion
`reconstruction` and repaired by `compensate`; nothing is timed but these two passes themselves. The time that counts is
the processor's, of all threads: another program beside it does not change it much.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from trained import prunec

from models.registry import networks

RESULTS = Path(__file__).parent / "results" / "compensation_cost.json"
PASSES = "fold-constants,fold-batchnorm,prune(strategy=uniform,criterion=reconstruction),compensate"
JUDGING = 8


@dataclass(frozen=True)
class Cost:
    """What one compile took, and its two passes, judging by a few images included."""

    network: str
    images: int
    size: int
    prune_seconds: float
    compensate_seconds: float
    processor_seconds: float
    peak_bytes: int
    date: str


def main() -> None:
    """Compile, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", choices=sorted(networks()))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cost = _cost(arguments.network, arguments.size, arguments.images, Path(folder))
    print(cost)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(asdict(cost), indent=2) + "\n")


def _cost(name: str, size: int, images: int, folder: Path) -> Cost:
    _export(name, size, folder / "model.onnx")
    calibration, judging = (
        _images(folder / "calibration.npz", images, size),
        _images(folder / "judging.npz", JUDGING, size),
    )
    data = ("--data", judging, "--calibration-data", calibration, "--evaluation-samples", str(JUDGING))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code, report = prunec(
        "compile", folder / "model.onnx", "--target", "null", "--macs", "50%", "--passes", PASSES, *data, "--dry-run"
    )
    if report is None:
        raise SystemExit(f"exit code {code} without a report after {time.monotonic() - started:.0f} s")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = {item["name"]: item["seconds"] for item in report["passes"]}
    return Cost(
        network=name,
        images=images,
        size=size,
        prune_seconds=seconds["prune"],
        compensate_seconds=seconds["compensate"],
        processor_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_bytes=after.ru_maxrss * 1024,
        date=datetime.now(UTC).date().isoformat(),
    )


def _export(name: str, size: int, path: Path) -> None:
    torch.manual_seed(0)
    network = networks()[name].build().eval()
    torch.onnx.export(network, (torch.zeros(1, 3, size, size),), path, dynamo=False, opset_version=17)


def _images(path: Path, count: int, size: int) -> Path:
    """Write smooth random images: noise of a sixteenth of the size, enlarged, and a little of its own per pixel."""
    generator = np.random.default_rng(count)
    coarse = torch.from_numpy(generator.standard_normal((count, 3, size // 16, size // 16)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").numpy()
    np.savez(path, x=smooth + 0.1 * generator.standard_normal(smooth.shape, dtype=np.float32))
    return path


if __name__ == "__main__":
    main()
