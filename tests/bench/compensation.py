"""What compensation costs and wins: `python tests/bench/compensation.py`.

1. Seconds: the elimination of all units of a 512-channel 3x3 layer.
2. Accuracy without training: each network compiled for each share of the measured latency by each criterion, with and
   without `compensate`, in one table. Calibration samples come from the training split, accuracy from a test split that
   nothing was chosen on.

The data folder is `PRUNEC_DATA` or ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from toolchain.recovery.elimination import Consumer, eliminate

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PRUNEC_DATA", ROOT.parent / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "compensation.json"
CIFAR = "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
CALIBRATION_IMAGES = 1024


@dataclass(frozen=True)
class Row:
    """One compile: what was asked for, and what its report says."""

    network: str
    budget: str
    criterion: str
    compensated: bool
    exit_code: int
    latency_ratio: float
    accuracy_before: float
    accuracy_after: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """Everything measured, and where and when."""

    target: str
    wide_layer_seconds: float
    date: str
    rows: tuple[Row, ...]


def main() -> None:
    """Measure, print, keep."""
    arguments = _arguments()
    seconds = _wide_layer_seconds(arguments.channels)
    Console().print(f"elimination of a {arguments.channels}-channel 3x3 layer: {seconds:.1f} s")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in _rows(arguments, Path(folder)):
            rows.append(row)
            Console(width=160).print(row)
            _keep(arguments, seconds, rows)
    _keep(arguments, seconds, rows)
    Console(width=140).print(_table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet20_cifar10", "resnet56_cifar10"])
    parser.add_argument("--budgets", nargs="*", default=["80%", "70%", "60%", "50%"])
    parser.add_argument("--criteria", nargs="*", default=["l1", "taylor", "reconstruction"])
    parser.add_argument("--strategy", default="greedy")
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--evaluation-samples", type=int, default=5000)
    parser.add_argument("--channels", type=int, default=512, help="width of the layer whose elimination is timed")
    return parser.parse_args()


def _wide_layer_seconds(channels: int) -> float:
    """Time the elimination of all units of a 3x3 layer on random correlated inputs."""
    generator = np.random.default_rng(0)
    unknowns = 9 * channels
    samples = generator.standard_normal((2 * unknowns, unknowns), dtype=np.float32)
    covariance = (samples.T @ samples / len(samples)).astype(np.float64)
    blocks = np.arange(unknowns).reshape(channels, 9)
    consumer = Consumer(covariance, generator.standard_normal((unknowns, channels)), blocks, 1.0)
    started = time.monotonic()
    eliminate([consumer], 1e-2)
    return time.monotonic() - started


def _rows(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    trained = [DATA / "cifar10_models" / f"{name}.onnx" for name in arguments.networks]
    if missing := [str(path) for path in trained if not path.exists()]:
        print(f"skipped: {', '.join(missing)} absent", file=sys.stderr)
    present = [path for path in trained if path.exists()]
    calibration = _training_images(folder) if present else folder
    for model in present:
        for budget in arguments.budgets:
            for criterion in arguments.criteria:
                for compensated in (False, True):
                    passes = f"fold-constants,fold-batchnorm,prune(strategy={arguments.strategy},criterion={criterion})"
                    options = ("--calibration-data", str(calibration), "--passes", passes + ",compensate" * compensated)
                    options = (*options, "--evaluation-samples", str(arguments.evaluation_samples))
                    options = (*options, "--target", arguments.target)
                    yield _row(model, budget, criterion, compensated, options, folder)


def _row(model: Path, budget: str, criterion: str, compensated: bool, options: tuple[str, ...], folder: Path) -> Row:
    bundle = folder / f"{model.stem}-{budget.rstrip('%')}-{criterion}-{compensated}"
    data = ("--data", str(DATA / "cifar10" / "cifar10_test_a.npz"), "--preprocess", CIFAR)
    command = [sys.executable, "-m", "toolchain.cli.main", "compile", str(model), "--budget", budget, *data, *options]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "-o", str(bundle), "--json"], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    passes = json.loads(done.stdout)["passes"]
    return Row(
        model.stem,
        budget,
        criterion,
        compensated,
        done.returncode,
        passes[-1]["latency"]["ratio"],
        passes[0]["accuracy"]["value"],
        passes[-1]["accuracy"]["value"],
        time.monotonic() - started,
    )


def _training_images(folder: Path) -> Path:
    """Unpack a part of the training split: nothing of the test split calibrates."""
    spec = spec_from_file_location("medxz", DATA / "medxz.py")
    assert spec and spec.loader
    medxz = module_from_spec(spec)
    spec.loader.exec_module(medxz)
    arrays = medxz.unpack(str(DATA / "cifar10" / "cifar10_train.med.xz"))
    chosen = np.random.default_rng(0).permutation(len(arrays["x"]))[:CALIBRATION_IMAGES]
    path = folder / "cifar10_calibration.npz"
    np.savez(path, x=arrays["x"][chosen], y=arrays["y"][chosen].astype(np.int64))
    return path


def _table(rows: list[Row]) -> Table:
    table = Table("network", "budget", "criterion", "latency", "before", "pruned", "compensated", "minutes")
    plain = {(row.network, row.budget, row.criterion): row for row in rows if not row.compensated}
    for row in rows:
        if row.compensated:
            other = plain[row.network, row.budget, row.criterion]
            table.add_row(
                row.network,
                row.budget,
                row.criterion,
                f"{100 * other.latency_ratio:.1f} / {100 * row.latency_ratio:.1f} %",
                f"{row.accuracy_before:.2f} %",
                f"{other.accuracy_after:.2f} %",
                f"{row.accuracy_after:.2f} %",
                f"{(other.seconds + row.seconds) / 60:.1f}",
            )
    return table


def _keep(arguments: argparse.Namespace, seconds: float, rows: list[Row]) -> None:
    result = Result(arguments.target, seconds, datetime.now(UTC).date().isoformat(), tuple(rows))
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(asdict(result), indent=2) + "\n")


if __name__ == "__main__":
    main()
