"""What training by the bundle's own script brings back, on the whole training split: `python tests/bench/recovery.py`.

HILP claims an accuracy within 0.6 points of the original at 60 % of its latency. One compile of a CIFAR-10 network for
a budget (or the bundle that is kept in `--folder` from before), then `finetune.py` with its defaults but for what
`--options` says. Accuracy before and after is that of the same 5,000 test images, none of which trains or calibrates.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from trained import Trained, compiled, finetuned, prepared, trained, unpack_cifar

RESULTS = Path(__file__).parent / "results" / "recovery.json"
IMAGES = 50_000


@dataclass(frozen=True)
class Recovered:
    """One network pruned and trained; accuracies in percent, the measured latency relative to the original's."""

    network: str
    strategy: str
    budget: str
    epochs: int
    options: str
    ratio: float
    original: float
    pruned: float
    trained: float
    minutes: float

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What was asked for."""
        return (self.network, self.strategy, self.budget, self.epochs, self.options)


def main() -> None:
    """Compile where there is no bundle yet, train, judge; print and keep all."""
    arguments = _arguments()
    with prepared(arguments.folder) as folder:
        whole = folder / "cifar10_whole_training.npz"
        if not whole.exists():
            unpack_cifar({whole: IMAGES})
        for network in trained(arguments.networks, folder):
            bundle = folder / "bundles" / f"{network.name}-{arguments.strategy}-{arguments.budget.rstrip('%')}"
            if not bundle.exists():
                compiled(network, arguments.budget, bundle, "--strategy", arguments.strategy)
            _keep(_recovered(replace(network, training=whole), bundle, arguments))
    Console(width=140).print(_table(_read()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet56"])
    parser.add_argument("--strategy", default="joint")
    parser.add_argument("--budget", default="60%")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--options", default="", help="further options of finetune.py")
    parser.add_argument("--folder", type=Path, help="where prepared data and bundles are kept for the next run")
    return parser.parse_args()


def _recovered(network: Trained, bundle: Path, arguments: argparse.Namespace) -> Recovered:
    report = json.loads((bundle / "report.json").read_text())
    first, last = report["passes"][0], [item for item in report["passes"] if item["status"] != "rolled back"][-1]
    started = time.monotonic()
    accuracy = finetuned(network, bundle, arguments.epochs, *arguments.options.split())
    if accuracy is None:
        raise SystemExit(f"{bundle}: its script failed")
    return Recovered(
        network=network.name,
        strategy=arguments.strategy,
        budget=arguments.budget,
        epochs=arguments.epochs,
        options=arguments.options,
        ratio=last["latency"]["ratio"],
        original=first["accuracy"]["value"],
        pruned=last["accuracy"]["value"],
        trained=accuracy,
        minutes=(time.monotonic() - started) / 60,
    )


def _read() -> list[Recovered]:
    return [Recovered(**item) for item in json.loads(RESULTS.read_text())] if RESULTS.exists() else []


def _keep(found: Recovered) -> None:
    kept = {item.key: item for item in (*_read(), found)}
    RESULTS.write_text(json.dumps([asdict(item) for item in kept.values()], indent=2) + "\n")


def _table(found: list[Recovered]) -> Table:
    table = Table("network", "strategy", "latency", "epochs", "options", "original", "pruned", "trained", "minutes")
    for item in found:
        accuracies = (f"{value:.2f} %" for value in (item.original, item.pruned, item.trained))
        asked = (item.network, item.strategy, f"{item.ratio:.1%}", str(item.epochs), item.options)
        table.add_row(*asked, *accuracies, f"{item.minutes:.1f}")
    return table


if __name__ == "__main__":
    main()
