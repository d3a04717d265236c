"""`reconstruction`: what is lost of a unit after the layers that read it are refitted in closed form.

    score(u) = sum over consumers of   rho * tr(W_u' (H_uu)^-1 W_u) / tr(W' G W)       at the moment u goes

with G the covariance of the consumer's columns (receptive fields), H = (G + ridge)^-1 downdated and W refitted
after every removal: Optimal Brain Surgeon in blocks (Frantar and Alistarh 2022, Optimal Brain Compression), one
elimination for all widths. The scores of a group are made monotone in the order of removal; they sum up to about 1 for
each consumer in a chain. rho is the branch's share of the variance of the residual sum it joins, as in `wanda`.

1. A unit of a residual stream has many consumers: their errors are summed.
2. A grouped convolution is one consumer for each of its groups.
3. Through a depthwise convolution a unit reaches the next full consumer.
4. A group with a consumer that is not a plain linear map, has more than `largest_unknowns`, or reads its units
   unevenly, is scored by `wanda`, which has the same scale; one without consumers by `l2`, as there.

Forward passes only, no labels. Scores are kept in the cache folder by the content of model, samples and options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from passes.criteria.wanda import Wanda
from passes.residual import Join, join
from toolchain.criterion import Calibration, Criterion, Feeds, Scores, batch_size
from toolchain.graph.analysis import Analysis, Group, ParameterSite
from toolchain.graph.labels import Role
from toolchain.recovery.elimination import Consumer, Positions, eliminate
from toolchain.recovery.inputs import Inputs, observe_inputs
from toolchain.recovery.layer import LinearLayer, linear_layers
from toolchain.recovery.original import FEWEST_POSITIONS
from toolchain.recovery.score_cache import keep_scores, read_scores, score_key
from toolchain.recovery.threads import algebra_threads
from toolchain.registry import scan


@dataclass(frozen=True)
class Reconstruction(Criterion):
    """Error of the refitted consumers when a unit goes, by backward elimination.

    `memory_bytes` bounds the covariances and activations held at a time; more of them take more forward passes.
    """

    needs_data: ClassVar[bool] = True

    ridge: float = 1e-2
    positions_per_unknown: int = 8
    largest_unknowns: int = 6144
    memory_bytes: int = 2 << 30
    seed: int = 0

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:
        """Eliminate the units of each group, or read how that went before."""
        if calibration is None:
            raise ValueError("reconstruction needs calibration data")
        feeds = list(calibration.batches())
        key = score_key(analysis.model, feeds, repr(self))
        found = read_scores(key, {group.name: group.width for group in analysis.prunable_groups})
        if found is None:
            found = self._eliminated(analysis, calibration, feeds)
            keep_scores(key, found)
        return found

    def _eliminated(self, analysis: Analysis, calibration: Calibration, feeds: Sequence[Feeds]) -> Scores:
        kinds = scan("passes.linear", LinearLayer)  # type: ignore[type-abstract]
        layers = linear_layers(analysis.index, kinds)
        found: dict[str, Sequence[_Reader] | None] = {
            group.name: _readers(analysis, group, layers, self.largest_unknowns) for group in analysis.prunable_groups
        }
        tasks = {name: readers for name, readers in found.items() if readers}
        result: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        for names in self._rounds(analysis, tasks, feeds):
            inputs = self._observe(analysis, [tasks[name] for name in names], calibration, feeds)
            for name in names:
                result[name] = self._scores_of(analysis, tasks[name], inputs)
        if len(result) < len(found):
            plain = Wanda().scores(analysis, calibration)
            result.update({name: plain[name] for name in found if name not in result})
        return {name: result[name] for name in found}

    def _rounds(
        self, analysis: Analysis, tasks: Mapping[str, Sequence[_Reader]], feeds: Sequence[Feeds]
    ) -> Iterator[list[str]]:
        """Divide the groups so that what one forward pass leaves behind fits into the memory."""
        batch = max(batch_size(item) for item in feeds)
        names: list[str] = []
        held: dict[str, int] = {}
        for name, readers in tasks.items():
            sizes = {key: size for reader in readers for key, size in reader.bytes(analysis, batch).items()}
            if names and sum({**held, **sizes}.values()) > self.memory_bytes:
                yield names
                names, held = [], {}
            names.append(name)
            held.update(sizes)
        if names:
            yield names

    def _observe(
        self,
        analysis: Analysis,
        tasks: Sequence[Sequence[_Reader]],
        calibration: Calibration,
        feeds: Sequence[Feeds],
    ) -> Inputs:
        readers = {reader.name: reader for task in tasks for reader in task}
        layers = {name: reader.layer for name, reader in readers.items()}
        joins = [reader.join for reader in readers.values() if reader.join]
        tensors = sorted({name for item in joins for name in (item.branch, item.joined)})
        positions = {
            name: max(FEWEST_POSITIONS, self.positions_per_unknown * reader.unknowns)
            for name, reader in readers.items()
        }
        with algebra_threads(max(reader.unknowns for reader in readers.values())):
            return observe_inputs(analysis, layers, tensors, calibration, feeds, positions, self.seed)

    def _scores_of(
        self, analysis: Analysis, readers: Sequence[_Reader], inputs: Inputs
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        consumers = [item for reader in readers for item in reader.consumers(analysis, inputs)]
        scarcity = max(4 * reader.unknowns / max(inputs.counts[reader.name], 1) for reader in readers)
        with algebra_threads(max(reader.unknowns for reader in readers)):
            return eliminate(consumers, self.ridge * max(1.0, scarcity)).scores()


@dataclass(frozen=True, eq=False)
class _Reader:
    """A layer that reads the units of a group; `blocks` (units, columns of a unit) says where."""

    name: str
    layer: LinearLayer
    unknowns: int
    blocks: Positions
    join: Join | None

    def consumers(self, analysis: Analysis, inputs: Inputs) -> list[Consumer]:
        """Return the linear maps, one for each group of a convolution, their errors relative to the layer's output."""
        weight = self.layer.matrix(analysis.index.array(self.layer.weight).astype(np.float64))
        covariance = inputs.covariances[self.name]
        energy = float(np.sum(weight * (covariance @ weight)))
        scale = self._share(inputs) / max(energy, 1e-30)
        return [Consumer(covariance[i], weight[i], self.blocks, scale) for i in range(self.layer.groups)]

    def bytes(self, analysis: Analysis, batch: int) -> dict[str, int]:
        """Return what has to be held: the covariance and its float64 sums, and every observed tensor of a batch."""
        names = [self.layer.input, *((self.join.branch, self.join.joined) if self.join else ())]
        shapes = {name: analysis.facts[name].shape or (1,) for name in names}
        sizes = {name: 4 * prod(shape[1:]) * batch for name, shape in shapes.items()}
        return {**sizes, f"covariance of {self.name}": 3 * 8 * self.layer.groups * self.unknowns**2}

    def _share(self, inputs: Inputs) -> float:
        """Return rho."""
        if self.join is None:
            return 1.0
        branch, joined = inputs.variances[self.join.branch], inputs.variances[self.join.joined]
        return min(1.0, branch / max(joined, 1e-30))


def _readers(
    analysis: Analysis, group: Group, layers: Mapping[int, LinearLayer], largest_unknowns: int
) -> list[_Reader] | None:
    """Return the readers of a group, None where one of them is not a linear map that can be refitted."""
    found = []
    for site in group.sites:
        if site.role is Role.CONSUMES:
            reader = _reader(analysis, group, site, layers.get(site.node_index))
            if reader is None or reader.unknowns > largest_unknowns:
                return None
            found.append(reader)
    return found


def _reader(analysis: Analysis, group: Group, site: ParameterSite, layer: LinearLayer | None) -> _Reader | None:
    if layer is None or layer.weight != site.parameter or layer.input_axis != site.axis:
        return None
    units = site.units[layer.column_channels(analysis.facts[layer.weight].shape or ())]
    counts = np.bincount(units, minlength=analysis.unit_count)[group.units]
    if counts.min() != counts.max() or not counts[0]:
        return None
    order = np.argsort(units, kind="stable")
    starts = np.searchsorted(units[order], group.units)
    blocks = order[starts[:, None] + np.arange(counts[0])]
    return _Reader(layer.node.output[0], layer, len(units), blocks, join(analysis.index, layer.node.output[0]))
