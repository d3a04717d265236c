"""Latency predicted from the table against latency measured: `python tests/bench/additivity.py`.

For each network, random plans at widths the target likes are predicted, built and timed against the original. The
table is then corrected by the first half of them and judged on the other half, before and after, beside the noise of
the measurements themselves. Networks whose file is absent are skipped: but for the first they lie in the data folder.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from toolchain.cli.compose import load_rules
from toolchain.graph.analysis import Analysis, analyse
from toolchain.graph.deployment import deployment_binding, random_feeds
from toolchain.graph.hashing import model_sha256
from toolchain.graph.normalise import normalise
from toolchain.graph.plan import make_plan
from toolchain.graph.surgery import apply_plan
from toolchain.latency.contract import Widths
from toolchain.latency.measured_table import measured_table
from toolchain.latency.table import LatencyTable
from toolchain.measure.comparison import Comparison
from toolchain.measure.timer import EngineTimer
from toolchain.strategies.contract import aligned_widths
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PRUNEC_DATA", ROOT.parent / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "additivity.json"
NETWORKS = ("digits_resnet", "resnet20_cifar10", "resnet56_cifar10", "mobilenet_v2")


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions, (predicted - measured) / measured, in percent."""

    mean_absolute: float
    median_absolute: float
    largest_absolute: float
    mean: float

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Errors:
        """Compare ratio by ratio."""
        errors = 100 * (np.array(predicted) / np.array(measured) - 1)
        sizes = np.abs(errors)
        return cls(*(round(float(one), 2) for one in (sizes.mean(), np.median(sizes), sizes.max(), errors.mean())))


@dataclass(frozen=True)
class Outcome:
    """One network: errors on the judged plans, what they cost, every ratio."""

    network: str
    target: str
    device: str
    runtime: str
    date: str
    plans_fitted: int
    plans_judged: int
    before: Errors
    after: Errors
    noise_percent: float
    """Median half-width of the measured ratios' 95 % intervals."""
    timings: int
    shared: int
    table_seconds: float
    measured: tuple[float, ...]
    predicted: tuple[float, ...]
    corrected: tuple[float, ...]
    load_average: float


def main() -> None:
    """Run all networks that are there, print a table, keep the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--target-options", default="")
    parser.add_argument("--plans", type=int, default=20)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    arguments = parser.parse_args()
    target = targets.create(arguments.target, arguments.target_options)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = []
        for name, model in _networks(arguments.networks.split(",")):
            outcomes.append(_judge(name, model, target, arguments.plans, Path(folder)))
            _keep(outcomes[-1])
    _print(outcomes)


def _keep(outcome: Outcome) -> None:
    """Write an outcome in place of the last one of its network and target."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    others = [item for item in kept if (item["network"], item["target"]) != (outcome.network, outcome.target)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([*others, asdict(outcome)], indent=2) + "\n")


def _networks(names: Sequence[str]) -> Iterator[tuple[str, onnx.ModelProto]]:
    files = (ROOT / "models", DATA / "cifar10_models", DATA / "imagenet_models")
    for name in names:
        found = next((file for folder in files for file in sorted(folder.glob(f"{name}*.onnx*"))), None)
        if found is None:
            print(f"skipped: {name} ({DATA} has no such file)", file=sys.stderr)
            continue
        content = found.read_bytes()
        yield name, normalise(onnx.load_from_string(lzma.decompress(content) if found.suffix == ".xz" else content))


def _judge(name: str, model: onnx.ModelProto, target: Target, count: int, folder: Path) -> Outcome:
    generator = np.random.default_rng(0)
    binding = deployment_binding(model, {}, {})
    analysis = analyse(model, load_rules(), binding=binding)
    feeds = random_feeds(model, binding, generator)
    timer = EngineTimer.start(target, model, feeds, binding, folder, generator)
    table = measured_table(analysis, target, folder, generator)
    plans = [_random_widths(analysis, target, generator) for _ in range(count)]
    start = time.perf_counter()
    predicted = [table.predict(widths) for widths in plans]
    seconds = time.perf_counter() - start
    measured = [_measured(analysis, widths, timer, generator) for widths in plans]
    ratios = [one.ratio for one in measured]
    half = count // 2
    corrected = _corrected(table, plans[:half], ratios[:half])
    after = [corrected.predict(widths) for widths in plans]
    identity = target.identity()
    return Outcome(
        network=name,
        target=target.name,
        device=identity.device,
        runtime=identity.runtime,
        date=datetime.now(UTC).date().isoformat(),
        plans_fitted=half,
        plans_judged=count - half,
        before=Errors.of(predicted[half:], ratios[half:]),
        after=Errors.of(after[half:], ratios[half:]),
        noise_percent=round(100 * float(np.median([one.half_width for one in measured])), 2),
        timings=table.timings,
        shared=table.shared,
        table_seconds=round(seconds, 1),
        measured=tuple(round(one, 4) for one in ratios),
        predicted=tuple(round(one, 4) for one in predicted),
        corrected=tuple(round(one, 4) for one in after),
        load_average=round(os.getloadavg()[1], 1),
    )


def _random_widths(analysis: Analysis, target: Target, generator: np.random.Generator) -> Widths:
    """Draw a share to keep for the plan, and around it a width for every group."""
    share = generator.uniform(0.3, 0.95)
    chosen = {}
    for group in analysis.prunable_groups:
        widths = [group.width, *aligned_widths(group, target.width_alignment())]
        wanted = group.width * float(np.clip(generator.normal(share, 0.2), 0.05, 1.0))
        chosen[group.name] = min(widths, key=lambda width: abs(width - wanted))
    return chosen


def _measured(analysis: Analysis, widths: Widths, timer: EngineTimer, generator: np.random.Generator) -> Comparison:
    removed = {
        group.name: generator.permutation(group.width)[widths[group.name] :].tolist()
        for group in analysis.prunable_groups
    }
    plan = make_plan(analysis, model_sha256(analysis.model), removed)
    return timer.compare(apply_plan(analysis, plan).model)


def _corrected(table: LatencyTable, plans: Sequence[Widths], ratios: Sequence[float]) -> LatencyTable:
    for widths, ratio in zip(plans, ratios, strict=True):
        table = table.corrected(widths, ratio)
    return table


def _print(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        "network", "target", "error before", "after", "largest after", "noise", "timings", "shared", "seconds"
    )
    for item in outcomes:
        table.add_row(
            item.network,
            item.target,
            f"{item.before.mean_absolute} %",
            f"{item.after.mean_absolute} %",
            f"{item.after.largest_absolute} %",
            f"{item.noise_percent} %",
            str(item.timings),
            str(item.shared),
            str(item.table_seconds),
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
