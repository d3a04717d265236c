"""Limits on counts, multiply-accumulates and parameters, as resources of the exact choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.graph.plan import Plan
from toolchain.latency.blocks import find_blocks
from toolchain.latency.contract import Block, Widths
from toolchain.latency.stair_macs import StairMacs
from toolchain.strategies.contract import Problem


@dataclass(frozen=True)
class Resource:
    """What blocks use of something at any width, what is used besides, and how much there is, in all."""

    cost: Callable[[Block, Widths], float]
    constant: float
    limit: float


def count_resources(problem: Problem) -> list[Resource]:
    """Return the counts that the problem limits, as shares of the original's."""
    limits, total = problem.limits, problem.cost_model.total
    work = StairMacs(problem.analysis, problem.analysis.rules, 1, 1.0)
    found = []
    if limits.macs is not None:
        found.append(Resource(work.block_ms, 0.0, limits.macs / total.macs))
    if limits.parameters is not None:
        shares = {name: size / total.parameters for name, size in _weight_sizes(problem).items()}

        def weights(block: Block, widths: Widths) -> float:
            """Return the weights left: they shrink as the work does."""
            return shares[block.name] * work.block_ms(block, widths) / max(work.block_ms(block, {}), 1e-30)

        found.append(Resource(weights, 1 - sum(shares.values()), limits.parameters / total.parameters))
    return found


def counted(problem: Problem, plan: Plan) -> list[float]:
    """Return what a plan uses of each limited count, in their order, as shares of the original's."""
    limits, total = problem.limits, problem.cost_model.total
    if limits.macs is None and limits.parameters is None:
        return []
    cost = problem.cost(plan)
    shares = ((limits.macs, cost.macs / total.macs), (limits.parameters, cost.parameters / total.parameters))
    return [share for limit, share in shares if limit is not None]


def _weight_sizes(problem: Problem) -> dict[str, int]:
    """Return the size of each block's weight, its bias not counted."""
    analysis = problem.analysis
    found = {}
    for number, block in find_blocks(analysis).items():
        operands = [name for name in analysis.index.nodes[number].input if name in analysis.index.constants]
        shapes = [analysis.facts[name].shape or () for name in operands]
        found[block.name] = int(sum(np.prod(shape) for shape in shapes if len(shape) > 1))
    return found
