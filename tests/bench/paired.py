"""How sure it is which of two strategies is better: `python tests/bench/paired.py --folder DIR`.

The networks are those of the bundles that `strategies.py` left in DIR, as they came out of the compile. Both are run on
the same test images, so that what both get right or wrong says nothing: with n10 images that only the one gets right
and n01 that only the other does, of n, the difference is (n10 - n01) / n, and its standard error
sqrt(n10 + n01 - (n10 - n01)^2 / n) / n (McNemar 1947).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from trained import CIFAR_TEST, Trained, cifar_images, scores_of, trained

RESULTS = Path(__file__).parent / "results" / "paired.json"
BATCH = 100
SURE = 1.96
"""Standard errors on either side of a difference that hold it in 95 % of all cases."""

Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """Accuracy of one strategy's network less that of another's, in points, and its standard error."""

    network: str
    budget: str
    one: str
    other: str
    points: float
    standard_error: float
    images: int

    @property
    def verdict(self) -> str:
        """Who is better, if that can be told."""
        if abs(self.points) <= SURE * self.standard_error:
            return "cannot be told"
        return self.one if self.points > 0 else self.other


def main() -> None:
    """Compare every pair of bundles that is there; print and keep all."""
    arguments = _arguments()
    images, labels = cifar_images(CIFAR_TEST)
    found = []
    for network, budget in product(trained(arguments.networks, arguments.folder), arguments.budgets):
        bundles = {
            name: _bundle(arguments.folder, network, name, budget) for name in (arguments.one, *arguments.others)
        }
        right = {
            name: np.concatenate(scores_of(path, images, BATCH)).argmax(1) == labels
            for name, path in bundles.items()
            if path.exists()
        }
        others = [name for name in right if name != arguments.one and arguments.one in right]
        found += [_difference(network.name, budget, (arguments.one, other), right) for other in others]
    RESULTS.write_text(json.dumps([asdict(item) for item in found], indent=2) + "\n")
    Console(width=120).print(_table(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56"])
    parser.add_argument("--budgets", nargs="*", default=["80%", "70%", "60%", "50%"])
    parser.add_argument("--one", default="joint")
    parser.add_argument("--others", nargs="*", default=["greedy", "halp", "hfp", "locp", "uniform"])
    parser.add_argument("--folder", type=Path, required=True, help="where strategies.py keeps its bundles")
    return parser.parse_args()


def _bundle(folder: Path, network: Trained, strategy: str, budget: str) -> Path:
    return folder / "bundles" / f"{network.name}-{strategy}-{budget.rstrip('%')}" / "model.onnx"


def _difference(network: str, budget: str, names: tuple[str, str], right: Mapping[str, Right]) -> Difference:
    one, other = (right[name] for name in names)
    count, ahead, behind = len(one), int(np.sum(one & ~other)), int(np.sum(other & ~one))
    variance = ahead + behind - (ahead - behind) ** 2 / count
    points, error = 100 * (ahead - behind) / count, 100 * variance**0.5 / count
    return Difference(network, budget, *names, points, error, count)


def _table(found: list[Difference]) -> Table:
    table = Table("network", "budget", "one", "other", "difference, points (95 %)", "better")
    for item in found:
        interval = f"{item.points:+.2f} +- {SURE * item.standard_error:.2f}"
        table.add_row(item.network, item.budget, item.one, item.other, interval, item.verdict)
    return table


if __name__ == "__main__":
    main()
