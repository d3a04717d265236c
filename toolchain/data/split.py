"""Which samples calibrate and which judge: never the same ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.data.dataset import Dataset, class_labels
from toolchain.errors import DataError, UsageError

MAX_CALIBRATION_SAMPLES = 1_024
MAX_EVALUATION_SAMPLES = 10_000

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Disjoint sample indices; any leading part of either has the classes in proportion too."""

    calibration: Indices
    evaluation: Indices


def split(
    count: int,
    calibration: int | None,
    evaluation: int | None,
    generator: np.random.Generator,
    labels: NDArray[Any] | None = None,
) -> Split:
    """Draw calibration and evaluation samples out of `count`, stratified where there are class labels.

    By default a quarter calibrates, at most 1,024, and the rest judges, at most 10,000.

    Stratified: the i-th of the n samples of a class, in random order, stands at (i + 1/2) / n. Samples are
    sorted by where they stand, so that any stretch of them has each class in proportion, to one sample.

    Raises UsageError for a number below 1, DataError for too few samples.
    """
    wanted = [number for number in (calibration, evaluation) if number is not None]
    if min(wanted, default=1) < 1:
        raise UsageError("calibration and evaluation need at least 1 sample each", hint="leave the option out")
    needed = sum(wanted) + (2 - len(wanted))
    if count < needed:
        raise DataError(
            f"{count} samples, but calibration and evaluation, which share none, need {needed}",
            hint="give more data, or lower --calibration-samples or --evaluation-samples",
        )
    if calibration is None:
        left = count - (evaluation or 1)
        calibration = min(max(count // 4, 1), MAX_CALIBRATION_SAMPLES, left)
    if evaluation is None:
        evaluation = min(count - calibration, MAX_EVALUATION_SAMPLES)
    order = _stratified_order(count, generator, class_labels(labels))
    return Split(order[:calibration], order[calibration : calibration + evaluation])


def draw(data: Dataset, wanted: int | None, most: int, generator: np.random.Generator) -> Indices:
    """Draw `wanted` samples of a dataset, all of them up to `most` by default, stratified where there are labels."""
    if wanted is not None and not 1 <= wanted <= len(data):
        raise DataError(f"{wanted} samples were asked for, but the data holds {len(data)}", hint="ask for fewer")
    return _stratified_order(len(data), generator, class_labels(data.labels))[: wanted or most]


def _stratified_order(count: int, generator: np.random.Generator, labels: NDArray[Any] | None) -> Indices:
    order = generator.permutation(count).astype(np.intp)
    if labels is None:
        return order
    shuffled = labels[order]
    place = np.empty(count)
    for label in np.unique(shuffled):
        members = np.flatnonzero(shuffled == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place, kind="stable")]
