"""The contract of a criterion: a score per unit, what its removal costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from toolchain.graph.analysis import Analysis, Group, ParameterSite
from toolchain.graph.labels import Role

Feeds = Mapping[str, npt.NDArray[Any]]
Scores = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a data-driven criterion may use: batches of samples, and a way to look at inner tensors."""

    batches: Callable[[], Iterable[Feeds]]
    held_out: Callable[[], Iterable[Feeds]]
    """Samples that choose between results made from `batches`: never the same, unless there is only one."""
    observe: Callable[[Sequence[str]], Callable[[Feeds], Feeds]]
    """Given tensor names, returns a function from feeds to these tensors' values in the analysed model."""


class Criterion(ABC):
    """Scores every unit of every prunable group; higher means more is lost."""

    needs_data: ClassVar[bool] = False

    @abstractmethod
    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Return a vector per group, in the order of its units, comparable between groups."""


def batch_size(feeds: Feeds) -> int:
    """Return the number of samples in a batch."""
    return len(next(iter(feeds.values())))


def up_to(batches: Iterable[Feeds], samples: int) -> Iterator[Feeds]:
    """Yield the first batches, until so many samples are reached; batches stay whole."""
    taken = 0
    for feeds in batches:
        yield feeds
        taken += batch_size(feeds)
        if taken >= samples:
            return


def sum_by_unit(group: Group, site: ParameterSite, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add up values along a site's axis for each unit of a group."""
    size = int(max(site.units.max(), group.units.max())) + 1
    totals: npt.NDArray[np.float64] = np.bincount(site.units, weights=values, minlength=size).astype(np.float64)
    return totals[group.units]


def filters_of(analysis: Analysis, group: Group) -> Iterator[tuple[ParameterSite, npt.NDArray[np.float64]]]:
    """Yield the places that produce or scale a group's units, with a row of weights for each position along the axis.

    Biases are left out, unless a group has nothing else.
    """
    for site in group.sites:
        weight = analysis.index.array(site.parameter)
        if site.role is not Role.CONSUMES and (weight.ndim > 1 or len(group.sites) == 1):
            rows = np.moveaxis(weight.astype(np.float64), site.axis, 0)
            yield site, rows.reshape(len(rows), -1)
