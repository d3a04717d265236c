"""What compensation costs and wins: `python tests/bench/compensation.py`.

1. Seconds: the elimination of all units of a 512-channel 3x3 layer.
2. Accuracy: each network compiled for each share of the measured latency by each criterion, with and without
   `compensate`; without training, and with `--epochs 1 5` after so many epochs of the bundle's own script. Calibration
   samples come from the training split, accuracy from a test split that nothing was chosen on.

Rows that are in the results already are not run again, unless `--again`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from trained import Compiled, Trained, compiled, finetuned, prepared, trained

from toolchain.recovery.elimination import Consumer, eliminate

RESULTS = Path(__file__).parent / "results" / "compensation.json"


@dataclass(frozen=True)
class Tuned:
    """Accuracy after so many epochs of the emitted script with its defaults; None where it failed."""

    epochs: int
    accuracy: float | None


@dataclass(frozen=True)
class Row(Compiled):
    """One compile by a criterion."""

    criterion: str
    compensated: bool
    tuned: tuple[Tuned, ...]

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """What was asked for."""
        return (self.network, self.budget, self.criterion, self.compensated)

    @property
    def epochs(self) -> set[int]:
        """How long it was trained."""
        return {tuned.epochs for tuned in self.tuned}


@dataclass(frozen=True)
class Asked:
    """What holds for every row."""

    folder: Path
    strategy: str
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class Elimination:
    """The elimination of all units of one layer of so many channels."""

    channels: int
    seconds: float
    processor_seconds: float


def main() -> None:
    """Run every row that is not there yet; print and keep all."""
    arguments = _arguments()
    elimination, rows = _read()
    if arguments.channels and (elimination is None or arguments.again):
        elimination = _elimination(arguments.channels)
    with prepared(arguments.folder) as folder:
        asked = Asked(folder, arguments.strategy, tuple(arguments.epochs))
        for network in trained(arguments.networks, folder):
            for budget, criterion, compensated in product(arguments.budgets, arguments.criteria, (False, True)):
                known = rows.get((network.name, budget, criterion, compensated))
                if known and known.epochs >= set(arguments.epochs) and not arguments.again:
                    continue
                row = _row(network, budget, criterion, compensated, None if arguments.again else known, asked)
                rows[row.key] = row
                Console(width=160).print(row)
                _keep(elimination, list(rows.values()))
    _keep(elimination, list(rows.values()))
    if elimination:
        print(f"elimination of a {elimination.channels}-channel 3x3 layer: {elimination.seconds:.1f} s")
    Console(width=160).print(_table(list(rows.values())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56"])
    parser.add_argument("--budgets", nargs="*", default=["80%", "70%", "60%", "50%"])
    parser.add_argument("--criteria", nargs="*", default=["l1", "taylor", "reconstruction"])
    parser.add_argument("--strategy", default="greedy")
    parser.add_argument("--epochs", type=int, nargs="*", default=[])
    parser.add_argument("--folder", type=Path, help="where prepared data and bundles are kept for the next run")
    parser.add_argument("--again", action="store_true", help="run what is there already")
    parser.add_argument("--channels", type=int, default=512, help="width of the layer that is timed, or 0")
    return parser.parse_args()


def _elimination(channels: int) -> Elimination:
    """Time the elimination of all units of a 3x3 layer on random correlated inputs."""
    generator = np.random.default_rng(0)
    unknowns = 9 * channels
    samples = generator.standard_normal((2 * unknowns, unknowns), dtype=np.float32)
    covariance = (samples.T @ samples / len(samples)).astype(np.float64)
    blocks = np.arange(unknowns).reshape(channels, 9)
    consumer = Consumer(covariance, generator.standard_normal((unknowns, channels)), blocks, 1.0)
    started, processor = time.monotonic(), time.process_time()
    eliminate([consumer], 1e-2)
    return Elimination(channels, time.monotonic() - started, time.process_time() - processor)


def _row(network: Trained, budget: str, criterion: str, compensated: bool, known: Row | None, asked: Asked) -> Row:
    """Compile, unless the bundle is kept from before, and train a copy of the bundle for what is not known yet."""
    bundle = asked.folder / "bundles" / f"{network.name}-{criterion}{'-compensate' * compensated}-{budget.rstrip('%')}"
    if known is None or not bundle.exists():
        known = _compiled(network, budget, criterion, compensated, bundle, asked.strategy)
    tuned = {item.epochs: item for item in known.tuned}
    for count in set(asked.epochs) - set(tuned):
        tuned[count] = Tuned(count, finetuned(network, bundle, count))
    return replace(known, tuned=tuple(tuned[count] for count in sorted(tuned)))


def _compiled(network: Trained, budget: str, criterion: str, compensated: bool, bundle: Path, strategy: str) -> Row:
    passes = f"fold-constants,fold-batchnorm,prune(strategy={strategy},criterion={criterion})"
    answer = compiled(network, budget, bundle, "--passes", passes + ",compensate" * compensated)
    if answer is None:
        raise SystemExit(f"{network.name}, {budget}, {criterion}: no report")
    return Row(**asdict(answer[0]), criterion=criterion, compensated=compensated, tuned=())


def _table(rows: list[Row]) -> Table:
    headings = ("network", "budget", "criterion", "compensate", "ratio [interval]", "accuracy", "tuned", "minutes")
    table = Table(*headings)
    for row in sorted(rows, key=lambda row: row.key):
        tuned = [f"{item.accuracy:.2f} % ({item.epochs})" for item in row.tuned if item.accuracy is not None]
        table.add_row(
            row.network,
            row.budget,
            row.criterion,
            "yes" if row.compensated else "no",
            row.ratio_text,
            row.accuracy_text,
            ", ".join(tuned) or "-",
            f"{row.minutes:.1f}",
        )
    return table


def _read() -> tuple[Elimination | None, dict[tuple[str, str, str, bool], Row]]:
    if not RESULTS.exists():
        return None, {}
    kept = json.loads(RESULTS.read_text())
    tuned = [tuple(Tuned(**tuned) for tuned in row["tuned"]) for row in kept["rows"]]
    rows = [Row(**{**row, "tuned": after}) for row, after in zip(kept["rows"], tuned, strict=True)]
    return kept["elimination"] and Elimination(**kept["elimination"]), {row.key: row for row in rows}


def _keep(elimination: Elimination | None, rows: list[Row]) -> None:
    kept = {"elimination": elimination and asdict(elimination), "rows": [asdict(row) for row in rows]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
