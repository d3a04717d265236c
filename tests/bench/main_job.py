"""The main job on real input: `python tests/bench/main_job.py`.

Compiles the quick start's model and a trained CIFAR-10 ResNet-56 (skipped when the data folder is absent) as a user
would, then times the bundle's model.onnx against the original once more with an independent `prunec bench`.
Calibration samples come from the training split, accuracy from a test split that nothing was chosen on.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from trained import prunec, trained

RESULTS = Path(__file__).parent / "results" / "main_job.json"


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
    budgets = {"digits_resnet": ("60%",), "resnet56": ("80%", "70%", "60%")}
    return [
        Job(network.name, network.model, budget, network.options)
        for network in trained(list(budgets), folder)
        for budget in budgets[network.name]
    ]


def _run(job: Job, folder: Path) -> Outcome:
    bundle = folder / f"{job.name}-{job.budget.rstrip('%')}"
    started = time.monotonic()
    code, report = prunec("compile", job.model, "--budget", job.budget, *job.options, "-o", bundle)
    seconds = time.monotonic() - started
    _, bench = prunec("bench", job.model, bundle / "model.onnx")
    passes, target = report["passes"], report["target"]
    return Outcome(
        name=job.name,
        budget=job.budget,
        exit_code=code,
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


if __name__ == "__main__":
    main()
