"""Strategy against strategy under one protocol: `python tests/bench/strategies.py`.

Every cell is one `prunec compile`: the measured ratio with its interval, accuracy without training, engines built,
timings taken, minutes; with `--epochs N` also the accuracy after N epochs of the bundle's own script. Cells that are in
the results already are not run again, unless `--again`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from trained import Compiled, Trained, compiled, finetuned, prepared, trained

RESULTS = Path(__file__).parent / "results" / "strategies.json"


Key = tuple[str, str, str, int]
"""Network, strategy, budget, epochs of training."""


@dataclass(frozen=True)
class Cell(Compiled):
    """One compile by a strategy."""

    strategy: str
    accuracy_finetuned: float | None
    epochs: int
    engines: int
    notes: tuple[str, ...]

    @property
    def key(self) -> Key:
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
                        for cell in _run(network, strategy, budget, arguments.epochs, folder, cells):
                            cells[cell.key] = cell
                            Console(width=160).print(cell)
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
    parser.add_argument("--folder", type=Path, help="where prepared data and bundles are kept for the next run")
    parser.add_argument("--again", action="store_true", help="run cells that are there already")
    return parser.parse_args()


def _run(
    network: Trained, strategy: str, budget: str, epochs: int, folder: Path, cells: Mapping[Key, Cell]
) -> Iterator[Cell]:
    """Yield the untrained cell, unless its bundle is kept from before, and what training makes of it."""
    bundle = folder / "bundles" / f"{network.name}-{strategy}-{budget.rstrip('%')}"
    untrained = cells.get((network.name, strategy, budget, 0))
    if untrained is None or not epochs or not bundle.exists():
        untrained = _compiled(network, strategy, budget, bundle)
        yield untrained
    if epochs:
        yield replace(untrained, epochs=epochs, accuracy_finetuned=finetuned(network, bundle, epochs))


def _compiled(network: Trained, strategy: str, budget: str, bundle: Path) -> Cell:
    answer = compiled(network, budget, bundle, "--strategy", strategy)
    if answer is None:
        raise SystemExit(f"{network.name}, {strategy}, {budget}: no report")
    made, report = answer
    kept = [item for item in report["passes"] if item["status"] != "rolled back"]
    return Cell(
        **asdict(made),
        strategy=strategy,
        accuracy_finetuned=None,
        epochs=0,
        engines=len(report["pruning"]["trials"]) if report["pruning"] else 0,
        notes=tuple(note for item in kept for note in item["notes"]),
    )


def _table(cells: list[Cell]) -> Table:
    headings = ("network", "budget", "strategy", "exit", "ratio [interval]", "accuracy", "tuned", "engines", "minutes")
    table = Table(*headings)
    for cell in sorted(cells, key=lambda cell: (cell.network, cell.budget, -(cell.accuracy_after or 0))):
        tuned = "-" if cell.accuracy_finetuned is None else f"{cell.accuracy_finetuned:.2f} % ({cell.epochs} epochs)"
        table.add_row(
            cell.network,
            cell.budget,
            cell.strategy,
            str(cell.exit_code),
            cell.ratio_text,
            cell.accuracy_text,
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
