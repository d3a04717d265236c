"""How sure a divergence of 192 samples is, by temperature: `python tests/bench/judging.py --folder DIR`.

The networks are those of the bundles that other benchmarks left in DIR. Each is run on training images that calibrated
none of them, batch by batch; with the mean and the standard deviation s of its batches' divergences, the standard error
of what `joint` judges by is s / sqrt(3) for three batches of 64. Rank correlations are between the divergences of three
batches and, at a temperature of 1, those of all others, over networks that diverge by less than 0.3 nats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from trained import CALIBRATION_IMAGES, cifar_images, scores_of, trained

from toolchain.data.divergence import divergence

RESULTS = Path(__file__).parent / "results" / "judging.json"
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
BATCH, BATCHES, JUDGED = 64, 24, 3
NEAR_NATS = 0.3
DRAWS = 50

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sureness:
    """What three batches tell at one temperature."""

    network: str
    temperature: float
    candidates: int
    standard_error_percent: float
    """Of the divergence, the median over candidates."""
    rank_correlation: float


def main() -> None:
    """Measure every network that has bundles; print and keep all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56"])
    parser.add_argument(
        "--folder", type=Path, required=True, help="where strategies.py and compensation.py keep theirs"
    )
    arguments = parser.parse_args()
    found: list[Sureness] = []
    for network in trained(arguments.networks, arguments.folder):
        bundles = sorted((arguments.folder / "bundles").glob(f"{network.name}-*/model.onnx"))
        assert network.training is not None
        images, _ = cifar_images(network.training, slice(CALIBRATION_IMAGES, CALIBRATION_IMAGES + BATCH * BATCHES))
        expected = scores_of(network.model, images, BATCH)
        found += _sureness(network.name, expected, [scores_of(path, images, BATCH) for path in bundles])
    RESULTS.write_text(json.dumps([asdict(item) for item in found], indent=2) + "\n")
    Console(width=120).print(_table(found))


def _sureness(
    network: str, expected: Sequence[npt.NDArray[np.float32]], found: Sequence[Sequence[npt.NDArray[np.float32]]]
) -> list[Sureness]:
    far = {temperature: _divergences(expected, found, temperature) for temperature in TEMPERATURES}
    near = far[1.0].mean(1) < NEAR_NATS
    rng = np.random.default_rng(0)
    draws = [rng.permutation(BATCHES) for _ in range(DRAWS)]
    return [
        Sureness(
            network,
            temperature,
            int(near.sum()),
            100 * float(np.median(values[near].std(1, ddof=1) / values[near].mean(1))) / JUDGED**0.5,
            float(np.mean([_agreement(values[near], far[1.0][near], draw) for draw in draws])),
        )
        for temperature, values in far.items()
    ]


def _divergences(
    expected: Sequence[npt.NDArray[np.float32]], found: Sequence[Sequence[npt.NDArray[np.float32]]], temperature: float
) -> Array:
    return np.array(
        [[divergence({"y": p}, {"y": q}, temperature) for p, q in zip(expected, one, strict=True)] for one in found]
    )


def _agreement(judged: Array, wanted: Array, draw: npt.NDArray[np.int64]) -> float:
    return float(spearmanr(judged[:, draw[:JUDGED]].mean(1), wanted[:, draw[JUDGED:]].mean(1)).statistic)


def _table(found: Sequence[Sureness]) -> Table:
    table = Table("network", "temperature", "candidates", "standard error, % of the divergence", "rank correlation")
    for item in found:
        figures = (f"{item.standard_error_percent:.0f}", f"{item.rank_correlation:.3f}")
        table.add_row(item.network, f"{item.temperature:g}", str(item.candidates), *figures)
    return table


if __name__ == "__main__":
    main()
