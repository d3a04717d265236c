"""What a metric is, and the score it gives."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolchain.data.dataset import Batch, Outputs

Observation = TypeVar("Observation")


@dataclass(frozen=True)
class Score:
    """What a metric says about a model, with its 95 % interval; `None` where no interval is known.

    `unit` is "%" or "". `extras` are further figures that came with it: (name with unit, value).
    """

    name: str
    value: float
    unit: str
    higher_is_better: bool
    samples: int
    low: float | None
    high: float | None
    extras: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class BatchResult:
    """What a model returned for a batch, without padding.

    `reference` is what the original model returned, where the metric's `needs_reference` asks for it.
    """

    outputs: Outputs
    reference: Outputs | None
    labels: NDArray[Any] | None
    samples: int

    @classmethod
    def of(cls, batch: Batch, outputs: Outputs, reference: Outputs | None = None) -> Self:
        """Take what was returned for a batch, and cut the padding off."""
        kept = None if reference is None else batch.trim(reference)
        return cls(batch.trim(outputs), kept, batch.labels, batch.samples)


class Metric(ABC, Generic[Observation]):
    """Accuracy in two steps, without state: observe every batch, then score what was observed."""

    needs_reference: ClassVar[bool] = False

    @abstractmethod
    def observe(self, result: BatchResult) -> Observation:
        """Reduce a batch's outputs to what the score needs."""

    @abstractmethod
    def score(self, observations: Sequence[Observation]) -> Score:
        """Turn the observations of all batches into the score."""


def evaluate(
    metric: Metric[Any],
    batches: Iterable[Batch],
    run: Callable[[Mapping[str, NDArray[Any]]], Outputs],
    references: Iterable[Outputs] | None = None,
) -> Score:
    """Run a model over batches and score it; `references` are the original's outputs, batch by batch."""
    if metric.needs_reference and references is None:
        raise ValueError(f"{type(metric).__name__} compares with the original model: pass its outputs")
    observations = [
        metric.observe(BatchResult.of(batch, run(batch.feeds), reference))
        for batch, reference in _pairs(batches, references)
    ]
    return metric.score(observations)


def _pairs(batches: Iterable[Batch], references: Iterable[Outputs] | None) -> Iterable[tuple[Batch, Outputs | None]]:
    if references is None:
        return ((batch, None) for batch in batches)
    return zip(batches, references, strict=True)


def proportion(name: str, hits: NDArray[np.bool_], extras: tuple[tuple[str, float], ...] = ()) -> Score:
    """Score a share in percent, with Wilson's interval."""
    from scipy.stats import binomtest  # half a second to load, and most commands score nothing

    successes, samples = int(hits.sum()), len(hits)
    interval = binomtest(successes, samples).proportion_ci(0.95, method="wilson")
    low, high = 100 * float(interval.low), 100 * float(interval.high)
    return Score(name, 100 * successes / samples, "%", True, samples, low, high, extras)


def mean_percent(name: str, values: NDArray[np.float64]) -> Score:
    """Score a mean of shares in percent, with the normal interval if there are two samples or more."""
    mean = float(values.mean())
    if len(values) < 2 or not math.isfinite(mean):
        return Score(name, 100 * mean, "%", True, len(values), None, None)
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Score(name, 100 * mean, "%", True, len(values), 100 * (mean - half), 100 * (mean + half))
