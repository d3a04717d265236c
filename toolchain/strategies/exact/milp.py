"""One width for each group, least loss within the limits: an integer programme that is linear without approximation.

    minimise    sum_{g,w} loss[g,w] x[g,w]
    subject to  sum_w x[g,w] = 1                                                     one width for each group
                sum_n (n' + 1) e[t,n] <= fixed + sum_{g,w} each * w * x[g,w] <= sum_n n e[t,n]     rounded-up totals
                sum_j z[p,i,j] = u[i],   sum_i z[p,i,j] = v[j],   z >= 0             the product of choices u and v
                x[g,0] <= x[h,0]                                                     h goes with the branch of g
                x[h,0] <= sum of x[g,0] over the branches that h serves              where it cannot go by itself
                constant + sum unary + sum_{p,i,j} cost[p,i,j] z[p,i,j] <= limit     for every resource

x and e are binary, n' is the size before n. With u and v at corners of their simplices the only z that the product
rows admit is their outer product, so z needs no integrality. Solved by HiGHS through `scipy.optimize.milp`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from toolchain.silence import silent_stdout

Array = npt.NDArray[np.float64]

LARGEST_LOSS = 1e4
"""Losses are scaled to a median of 1 and bounded, so that the solver's tolerances mean something."""


@dataclass(frozen=True, eq=False)
class Choice:
    """One group, exactly one of its widths: loss [width], cost [resource, width]."""

    name: str
    widths: tuple[int, ...]
    loss: Array
    cost: Array


@dataclass(frozen=True, eq=False)
class Total:
    """The channels of several groups together, fixed + sum each * width, rounded up to one of `sizes` (ascending).

    The first size must not be below the least total, nor the last below the largest. cost [resource, size].
    """

    fixed: int
    terms: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]
    cost: Array


@dataclass(frozen=True, eq=False)
class Pair:
    """A cost [resource, i, j] that depends on two variables; choices are numbered first, then totals."""

    first: int
    second: int
    cost: Array


@dataclass(frozen=True, eq=False)
class Instance:
    """All of it. `constant` and `limit` have an entry per resource; costs are best of the order of 1.

    `branches` names, for a group that may have width 0 by itself, those that then have width 0 too. Other groups
    that have a width 0 may take it only then.
    """

    choices: Sequence[Choice]
    totals: Sequence[Total]
    pairs: Sequence[Pair]
    branches: Mapping[str, tuple[str, ...]]
    constant: Array
    limit: Array


@dataclass(frozen=True)
class Solution:
    """The widths, their summed loss, how far below it the optimum may lie (relative), and the processor's seconds."""

    widths: Mapping[str, int]
    loss: float
    gap: float
    seconds: float


def solve(instance: Instance, *, seconds: float = 30.0, gap: float = 1e-3) -> Solution | None:
    """Return the widths of least loss within the limits; None where there are none, or none was found in time."""
    return _solve(instance, _scaled_losses(instance), instance.limit, seconds, gap)


def solve_cheapest(instance: Instance, *, seconds: float = 30.0, gap: float = 1e-3) -> Solution | None:
    """Return the widths that take least of the first resource, whatever they lose."""
    return _solve(instance, _costs(instance)[0], np.full_like(instance.limit, np.inf), seconds, gap)


def _solve(instance: Instance, objective: Array, limit: Array, seconds: float, gap: float) -> Solution | None:
    rows = _constraints(instance, limit)
    count, binaries = rows.layout.count, rows.layout.binaries
    started = time.process_time()
    with silent_stdout():  # HiGHS prints from its depths
        result = milp(
            np.pad(objective, (0, count - len(objective))),
            integrality=(np.arange(count) < binaries).astype(np.int64),
            bounds=Bounds(0, 1),
            constraints=rows.constraint(),
            options={"time_limit": seconds, "mip_rel_gap": gap},
        )
    if result.x is None:
        return None
    parts = rows.layout.variables[: len(instance.choices)]
    taken = [(item, int(np.argmax(result.x[part]))) for item, part in zip(instance.choices, parts, strict=True)]
    widths = {choice.name: choice.widths[number] for choice, number in taken}
    loss = float(sum(choice.loss[number] for choice, number in taken))
    return Solution(widths, loss, float(result.mip_gap or 0.0), time.process_time() - started)


class _Layout:
    """Where the variables stand: the choices', the totals', then the products'."""

    def __init__(self, instance: Instance) -> None:
        sizes = [*(len(item.widths) for item in instance.choices), *(len(item.sizes) for item in instance.totals)]
        products = [sizes[pair.first] * sizes[pair.second] for pair in instance.pairs]
        edges = np.cumsum([0, *sizes, *products]).tolist()
        parts = [slice(start, end) for start, end in pairwise(edges)]
        self.variables, self.products = parts[: len(sizes)], parts[len(sizes) :]
        self.binaries, self.count = edges[len(sizes)], edges[-1]


class _Rows:
    """lower <= matrix @ variables <= upper, gathered row by row."""

    def __init__(self, layout: _Layout) -> None:
        self.layout = layout
        self._matrices: list[sparse.coo_array] = []
        self._lower: list[Array] = []
        self._upper: list[Array] = []

    def add(self, parts: Sequence[tuple[slice, Array]], lower: Array, upper: Array) -> None:
        """Add rows; each part is a range of variables with its coefficients [row, variable]."""
        columns = np.concatenate([np.arange(part.start, part.stop) for part, _ in parts])
        block = sparse.coo_array(np.hstack([values for _, values in parts]))
        shape = (len(lower), self.layout.count)
        self._matrices.append(sparse.coo_array((block.data, (block.row, columns[block.col])), shape=shape))
        self._lower.append(lower)
        self._upper.append(upper)

    def constraint(self) -> LinearConstraint:
        """Return all rows."""
        matrix = sparse.csr_array(sparse.vstack(self._matrices))
        return LinearConstraint(matrix, np.concatenate(self._lower), np.concatenate(self._upper))


def _constraints(instance: Instance, limit: Array) -> _Rows:
    rows = _Rows(_Layout(instance))
    for part in rows.layout.variables:
        rows.add([(part, np.ones((1, part.stop - part.start)))], np.ones(1), np.ones(1))
    for number, total in enumerate(instance.totals, start=len(instance.choices)):
        _bind_total(rows, instance, total, rows.layout.variables[number])
    for pair, products in zip(instance.pairs, rows.layout.products, strict=True):
        _bind_product(rows, rows.layout.variables[pair.first], rows.layout.variables[pair.second], products)
    _bind_branches(rows, instance)
    costs = _costs(instance)
    for cost, most in zip(costs, limit - instance.constant, strict=True):
        if np.isfinite(most):
            rows.add([(slice(0, len(cost)), cost[None])], np.array([-np.inf]), np.array([most]))
    return rows


def _bind_total(rows: _Rows, instance: Instance, total: Total, variable: slice) -> None:
    """Keep the sum of the channels above the size before the one taken, and not above that one."""
    scale = max(*total.sizes, 1)
    sizes = np.array(total.sizes) / scale
    floors = np.array([-1, *total.sizes[:-1]]) / scale + 1 / scale
    numbers = {choice.name: number for number, choice in enumerate(instance.choices)}
    terms = [
        (rows.layout.variables[number], np.array(instance.choices[number].widths)[None] * each / scale)
        for number, each in ((numbers[name], each) for name, each in total.terms)
    ]
    fixed = np.array([total.fixed / scale])
    rows.add([*terms, (variable, -sizes[None])], np.array([-np.inf]), -fixed)
    rows.add([*terms, (variable, -floors[None])], -fixed, np.array([np.inf]))


def _bind_product(rows: _Rows, first: slice, second: slice, products: slice) -> None:
    """Give a product the two variables as its marginals."""
    height, width = first.stop - first.start, second.stop - second.start
    by_row, by_column = np.repeat(np.eye(height), width, axis=1), np.tile(np.eye(width), height)
    for variable, marginal in ((first, by_row), (second, by_column)):
        size = len(marginal)
        rows.add([(products, marginal), (variable, -np.eye(size))], np.zeros(size), np.zeros(size))


def _bind_branches(rows: _Rows, instance: Instance) -> None:
    """Let a branch go whole: its group only with those that serve it, and those that cannot go alone only with it."""
    gone = {
        choice.name: slice(part.start + choice.widths.index(0), part.start + choice.widths.index(0) + 1)
        for choice, part in zip(instance.choices, rows.layout.variables, strict=False)
        if 0 in choice.widths
    }
    one = np.ones((1, 1))
    for name, others in instance.branches.items():
        for other in (item for item in others if item != name):
            rows.add([(gone[name], one), (gone[other], -one)], np.array([-np.inf]), np.zeros(1))
    for name in gone.keys() - instance.branches.keys():
        owners = [(gone[owner], -one) for owner, others in instance.branches.items() if name in others]
        rows.add([(gone[name], one), *owners], np.array([-np.inf]), np.zeros(1))


def _costs(instance: Instance) -> Array:
    """Return the resources' coefficients of all variables."""
    resources = len(instance.constant)
    variables = [*(item.cost for item in instance.choices), *(item.cost for item in instance.totals)]
    costs = [*variables, *(item.cost for item in instance.pairs)]
    return np.hstack([np.zeros((resources, 0)), *(cost.reshape(resources, -1) for cost in costs)])


def _scaled_losses(instance: Instance) -> Array:
    losses = np.concatenate([choice.loss for choice in instance.choices])
    finite = losses[np.isfinite(losses) & (losses > 0)]
    scale = float(np.median(finite)) if len(finite) else 1.0
    scaled: Array = np.clip(np.nan_to_num(losses / scale, posinf=LARGEST_LOSS), 0.0, LARGEST_LOSS)
    return scaled
