"""The main job on real input: `python tests/bench/main_job.py`.

Compiles the quick start's model and a trained CIFAR-10 ResNet-56 (skipped when the data folder is absent) as a user
would, then times the bundle's model.onnx against the original once more with an independent `prunec bench`.
Calibration samples come from the training split, accuracy from a test split that nothing was chosen on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "main_job.json"
CIFAR = "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
CALIBRATION_IMAGES = 1024


@dataclass(frozen=True)
class Job:
    """One compile as the command line takes it."""

    name: str
    model: Path
    budget: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What the compile reported and what an independent timing says."""

    name: str
    budget: str
    exit_code: int
    compile_seconds: float
    accuracy_before: float
    accuracy_after: float
    reported_ratio: float
    bench_ratio: float
    bench_low: float
    bench_high: float
    engines_timed: int
    device: str
    runtime: str
    target_options: str
    date: str


def main() -> None:
    """Run every job, print the table, keep the results as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [_run(job, Path(folder)) for job in _jobs(Path(folder))]
    table = Table("model", "budget", "exit", "reported", "independent bench", "accuracy", "engines", "minutes")
    for item in outcomes:
        table.add_row(
            item.name,
            item.budget,
            str(item.exit_code),
            f"{100 * item.reported_ratio:.1f} %",
            f"{100 * item.bench_ratio:.1f} % [{100 * item.bench_low:.1f}, {100 * item.bench_high:.1f}]",
            f"{item.accuracy_before:.2f} -> {item.accuracy_after:.2f} %",
            str(item.engines_timed),
            f"{item.compile_seconds / 60:.1f}",
        )
    Console(width=140).print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(item) for item in outcomes], indent=2) + "\n")


def _jobs(folder: Path) -> list[Job]:
    jobs = [
        Job("digits_resnet", ROOT / "models/digits_resnet.onnx", "60%", ("--data", str(ROOT / "models/digits.npz")))
    ]
    trained = DATA / "cifar10_models" / "resnet56_cifar10.onnx"
    if not trained.exists():
        print(f"skipped: ResNet-56 on CIFAR-10 ({DATA} is absent)", file=sys.stderr)
        return jobs
    options = ("--data", str(DATA / "cifar10" / "cifar10_test_a.npz"), "--preprocess", CIFAR)
    calibration = ("--calibration-data", str(_cifar_training_images(folder)))
    return [*jobs, *(Job("resnet56_cifar10", trained, budget, (*options, *calibration)) for budget in ("80%", "70%"))]


def _cifar_training_images(folder: Path) -> Path:
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


def _run(job: Job, folder: Path) -> Outcome:
    bundle = folder / f"{job.name}-{job.budget.rstrip('%')}"
    started = time.monotonic()
    compiled = _prunec("compile", str(job.model), "--budget", job.budget, *job.options, "-o", str(bundle), "--json")
    seconds = time.monotonic() - started
    report = json.loads(compiled.stdout)
    bench = json.loads(_prunec("bench", str(job.model), str(bundle / "model.onnx"), "--json").stdout)
    passes, target = report["passes"], report["target"]
    return Outcome(
        name=job.name,
        budget=job.budget,
        exit_code=compiled.returncode,
        compile_seconds=seconds,
        accuracy_before=passes[0]["accuracy"]["value"],
        accuracy_after=passes[-1]["accuracy"]["value"],
        reported_ratio=passes[-1]["latency"]["ratio"],
        bench_ratio=bench["ratio"],
        bench_low=bench["low"],
        bench_high=bench["high"],
        engines_timed=len(report["pruning"]["trials"]),
        device=target["device"],
        runtime=target["runtime"],
        target_options=", ".join("=".join(pair) for pair in target["options"]),
        date=datetime.now(UTC).date().isoformat(),
    )


def _prunec(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "toolchain.cli.main", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )


if __name__ == "__main__":
    main()
