"""Strategy against strategy under one protocol: `python tests/bench/strategies.py`.

Every cell is one `prunec compile`: the measured ratio with its interval, accuracy without training, engines built,
timings taken, minutes; with `--epochs N` also the accuracy after N epochs of the bundle's own script. Cells that are in
the results already are not run again, unless `--again`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from trained import Trained, finetuned, prepared, prunec, trained

RESULTS = Path(__file__).parent / "results" / "strategies.json"


@dataclass(frozen=True)
class Cell:
    """One compile, and what its report says."""

    network: str
    strategy: str
    budget: str
    exit_code: int
    ratio: float
    ratio_low: float
    ratio_high: float
    accuracy_before: float
    accuracy_after: float
    accuracy_finetuned: float | None
    epochs: int
    engines: int
    notes: tuple[str, ...]
    minutes: float
    device: str
    runtime: str
    date: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What was asked for."""
        return (self.network, self.strategy, self.budget, self.epochs)


def main() -> None:
    """Run every cell that is not there yet; print and keep all."""
    arguments = _arguments()
    cells = {cell.key: cell for cell in _read()}
    with prepared(arguments.folder) as folder:
        for network in trained(arguments.networks, folder):
            for budget in arguments.budgets:
                for strategy in arguments.strategies:
                    key = (network.name, strategy, budget, arguments.epochs)
                    if key not in cells or arguments.again:
                        with tempfile.TemporaryDirectory() as output:
                            cells[key] = _cell(network, strategy, budget, arguments.epochs, Path(output) / "bundle")
                        Console(width=160).print(cells[key])
                        _keep(list(cells.values()))
    Console(width=160).print(_table(list(cells.values())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56", "digits_resnet"])
    parser.add_argument("--budgets", nargs="*", default=["80%", "70%", "60%", "50%"])
    parser.add_argument(
        "--strategies", nargs="*", default=["joint", "uniform", "greedy", "halp", "hfp", "locp", "hilp"]
    )
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the prepared data is kept for the next run")
    parser.add_argument("--again", action="store_true", help="run cells that are there already")
    return parser.parse_args()


def _cell(network: Trained, strategy: str, budget: str, epochs: int, bundle: Path) -> Cell:
    started = time.monotonic()
    asked: tuple[str | Path, ...] = ("--budget", budget, "--strategy", strategy, *network.options, "-o", bundle)
    code, report = prunec("compile", network.model, *asked)
    minutes = (time.monotonic() - started) / 60
    if report is None:
        raise SystemExit(f"{network.name}, {strategy}, {budget}: exit code {code} without a report")
    passes = [item for item in report["passes"] if item["status"] != "rolled back"]
    latency = passes[-1]["latency"]
    notes = tuple(note for item in passes for note in item["notes"])
    return Cell(
        network=network.name,
        strategy=strategy,
        budget=budget,
        exit_code=code,
        ratio=latency["ratio"],
        ratio_low=latency["ratio_low"],
        ratio_high=latency["ratio_high"],
        accuracy_before=passes[0]["accuracy"]["value"],
        accuracy_after=passes[-1]["accuracy"]["value"],
        accuracy_finetuned=finetuned(network, bundle, epochs) if epochs else None,
        epochs=epochs,
        engines=len(report["pruning"]["trials"]) if report["pruning"] else 0,
        notes=notes,
        minutes=minutes,
        device=report["target"]["device"],
        runtime=report["target"]["runtime"],
        date=datetime.now(UTC).date().isoformat(),
    )


def _table(cells: list[Cell]) -> Table:
    headings = ("network", "budget", "strategy", "exit", "ratio [interval]", "accuracy", "tuned", "engines", "minutes")
    table = Table(*headings)
    for cell in sorted(cells, key=lambda cell: (cell.network, cell.budget, -cell.accuracy_after)):
        tuned = "-" if cell.accuracy_finetuned is None else f"{cell.accuracy_finetuned:.2f} % ({cell.epochs} epochs)"
        table.add_row(
            cell.network,
            cell.budget,
            cell.strategy,
            str(cell.exit_code),
            f"{100 * cell.ratio:.1f} % [{100 * cell.ratio_low:.1f}, {100 * cell.ratio_high:.1f}]",
            f"{cell.accuracy_before:.2f} -> {cell.accuracy_after:.2f} %",
            tuned,
            str(cell.engines),
            f"{cell.minutes:.1f}",
        )
    return table


def _read() -> list[Cell]:
    if not RESULTS.exists():
        return []
    return [Cell(**{**item, "notes": tuple(item["notes"])}) for item in json.loads(RESULTS.read_text())]


def _keep(cells: list[Cell]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(cell) for cell in cells], indent=2) + "\n")


if __name__ == "__main__":
    main()
