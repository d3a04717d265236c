"""From a network, its latency model and its losses to an instance of the exact choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.latency.contract import Block, Extent, LatencyModel, Widths
from toolchain.strategies.contract import Problem
from toolchain.strategies.exact.counts import Resource, count_resources
from toolchain.strategies.exact.milp import Array, Choice, Instance, Pair, Total

MOST_SIZES = 24
"""A sum of more different sizes is rounded up to so many: a DenseNet's last layer reads dozens of groups."""

READ, WRITTEN = "channels read", "channels written"

Candidates = Mapping[str, tuple[int, ...]]
"""Group name to the widths to choose from, widest first, the full one included."""
LossOf = Callable[[str, int], float]
SizeCost = Callable[[int, int], float]


@dataclass(frozen=True, eq=False)
class Model:
    """A network as variables: what never changes while losses, limits and corrections of the latencies do.

    `pairs=False` reads every block's cost at its full input width, as a table of latencies per layer does.
    """

    problem: Problem
    blocks: Sequence[Block]
    candidates: Candidates
    axes: Mapping[Extent, Axis]
    totals: Sequence[Total]
    pairs: bool

    @classmethod
    def of(cls, problem: Problem, blocks: Sequence[Block], candidates: Candidates, *, pairs: bool = True) -> Model:
        """Give every group a variable, and every sum of several groups that a block reads or writes."""
        extents = dict.fromkeys(extent for block in blocks for extent in (block.input, block.output))
        names = list(candidates)
        axes: dict[Extent, Axis] = {}
        totals: list[Total] = []
        for extent in extents:
            if len(extent.parts) > 1:
                totals.append(_total(extent, candidates))
                axes[extent] = Axis(len(names) + len(totals) - 1, totals[-1].sizes)
            elif extent.parts:
                [(name, each, _)] = extent.parts
                channels = tuple(extent.fixed + each * width for width in candidates[name])
                axes[extent] = Axis(names.index(name), channels)
            else:
                axes[extent] = Axis(None, (extent.fixed,))
        return cls(problem, blocks, candidates, axes, totals, pairs)

    def instance(self, latency: LatencyModel, loss_of: LossOf, ratio: float) -> Instance:
        """Fill in losses and costs; the first resource is latency, as a ratio of the original's.

        What a latency model adds to its blocks (pools, reorders) is taken as additive over groups.
        """
        rest, constant = self._rest(latency)
        resources = [
            Resource(lambda block, widths: latency.block_ms(block, widths) / latency.baseline_ms, constant, ratio),
            *count_resources(self.problem),
        ]
        filled = [_Filled(self, resource) for resource in resources]
        unary = [np.stack(parts) for parts in zip(*(item.unary for item in filled), strict=True)]
        for cost, values in zip(unary, rest, strict=False):
            cost[0] += values
        choices = [
            Choice(name, widths, np.array([loss_of(name, width) for width in widths]), cost)
            for (name, widths), cost in zip(self.candidates.items(), unary, strict=False)
        ]
        totals = [replace(total, cost=cost) for total, cost in zip(self.totals, unary[len(choices) :], strict=True)]
        pairs = [Pair(*key, np.stack([item.pairs[key] for item in filled])) for key in filled[0].pairs]
        branches = {name: others for name, others in self.problem.branches.items() if 0 in self.candidates[name]}
        constants, limits = np.array([item.constant for item in filled]), np.array([item.limit for item in resources])
        return Instance(choices, totals, pairs, branches, constants, limits)

    def _rest(self, latency: LatencyModel) -> tuple[list[Array], float]:
        """Return what the prediction adds to the blocks: for each group by width, and at full widths."""

        def beside(widths: Widths) -> float:
            in_blocks = sum(latency.block_ms(block, widths) for block in self.blocks)
            return latency.predict(widths) - in_blocks / latency.baseline_ms

        constant = beside({})
        rest = [
            np.array([beside({name: width}) - constant for width in widths]) for name, widths in self.candidates.items()
        ]
        return rest, constant


@dataclass(frozen=True)
class Axis:
    """The channels along one axis of a block for each value of the variable that decides them (None: they are fixed).

    Variables are numbered: the groups first, then the totals.
    """

    variable: int | None
    channels: tuple[int, ...]


def _total(extent: Extent, candidates: Candidates) -> Total:
    """Take all sums the candidates can make, or evenly spread ones where they are too many."""
    reachable = np.array([extent.fixed])
    for name, each, _ in extent.parts:
        reachable = np.unique(np.add.outer(reachable, each * np.array(candidates[name])))
    if len(reachable) > MOST_SIZES:
        reachable = reachable[np.linspace(0, len(reachable) - 1, MOST_SIZES).round().astype(np.int64)]
    terms = tuple((name, each) for name, each, _ in extent.parts)
    return Total(extent.fixed, terms, tuple(reachable.tolist()), np.zeros((1, len(reachable))))


class _Filled:
    """A resource's costs by the variables they depend on: none, one, or two."""

    def __init__(self, model: Model, resource: Resource) -> None:
        self.constant = resource.constant
        sizes = [*map(len, model.candidates.values()), *(len(total.sizes) for total in model.totals)]
        self.unary = [np.zeros(size) for size in sizes]
        self.pairs: dict[tuple[int, int], Array] = {}
        for block in model.blocks:
            read, written = model.axes[block.input], model.axes[block.output]
            if not model.pairs and written.variable is not None:
                read = Axis(None, (block.input.at({}),))
            self._add(read, written, _cost_of(resource, _free(block)))

    def _add(self, read: Axis, written: Axis, cost: SizeCost) -> None:
        first, second = read.variable, written.variable
        if first is not None and second is not None and first != second:
            matrix = np.array([[cost(i, j) for j in written.channels] for i in read.channels])
            self.pairs[first, second] = self.pairs.get((first, second), 0.0) + matrix
        elif first is not None and second is not None:
            self.unary[first] += [cost(i, j) for i, j in zip(read.channels, written.channels, strict=True)]
        elif first is not None:
            self.unary[first] += [cost(i, written.channels[0]) for i in read.channels]
        elif second is not None:
            self.unary[second] += [cost(read.channels[0], j) for j in written.channels]
        else:
            self.constant += cost(read.channels[0], written.channels[0])


def _cost_of(resource: Resource, block: Block) -> SizeCost:
    return lambda read, written: resource.cost(block, {READ: read, WRITTEN: written})


def _free(block: Block) -> Block:
    """Return a block each of whose axes is one group of its own, to ask for its cost at any pair of sizes."""
    read, written = block.input.at({}), block.output.at({})
    return replace(block, input=Extent(0, ((READ, 1, read),)), output=Extent(0, ((WRITTEN, 1, written),)))
