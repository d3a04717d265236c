"""The integer programme against trying everything."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.strategies.exact.milp import Choice, Instance, Pair, Total, solve, solve_cheapest


def random_instance(seed: int, groups: int, tightness: float) -> Instance:
    """Draw a chain of blocks, a block that reads a total of all groups, and two groups that go together."""
    rng = np.random.default_rng(seed)
    names = [f"g{number}" for number in range(groups)]
    widths = [(*sorted(rng.choice(np.arange(1, 9), rng.integers(1, 4), replace=False), reverse=True),) for _ in names]
    widths = [tuple(int(width) for width in some) for some in widths]
    widths[:2] = [(*some, 0) for some in widths[:2]]
    choices = [
        Choice(name, some, rng.exponential(size=len(some)), 0.1 * rng.random((2, len(some))))
        for name, some in zip(names, widths, strict=True)
    ]
    total = random_total(rng, names, widths)
    sizes = [*(len(some) for some in widths), len(total.sizes)]
    pairs = [
        Pair(first, second, rng.random((2, sizes[first], sizes[second])))
        for first, second in (*((number, number + 1) for number in range(groups - 1)), (0, groups))
    ]
    branches = {"g0": ("g0", "g1"), **({"g1": ("g1",)} if rng.random() < 0.5 else {})}
    everything = Instance(choices, [total], pairs, branches, rng.random(2), np.full(2, np.inf))
    spent = np.array([cost(everything, combination) for combination in allowed(everything)])
    limit = spent.min(axis=0) + tightness * (spent.max(axis=0) - spent.min(axis=0))
    return Instance(choices, [total], pairs, everything.branches, everything.constant, limit + 1e-9)


def random_total(rng: np.random.Generator, names: list[str], widths: list[tuple[int, ...]]) -> Total:
    each = [int(value) for value in rng.integers(1, 3, len(names))]
    fixed = int(rng.integers(0, 4))
    reachable = sorted({fixed + sum(np.multiply(each, some)) for some in product(*widths)})
    sizes = tuple(int(size) for size in (reachable if len(reachable) < 6 else [*reachable[1:-1:2], reachable[-1]]))
    return Total(fixed, tuple(zip(names, each, strict=True)), sizes, 0.1 * rng.random((2, len(sizes))))


def allowed(instance: Instance) -> list[tuple[int, ...]]:
    """List every combination in which the second group goes with the first; alone only where it can."""
    alone = "g1" in instance.branches
    first, second = (choice.widths for choice in instance.choices[:2])
    found = []
    for some in product(*(range(len(choice.widths)) for choice in instance.choices)):
        gone, follows = first[some[0]] == 0, second[some[1]] == 0
        if gone == follows or (follows and alone):
            found.append(some)
    return found


def cost(instance: Instance, combination: tuple[int, ...]) -> np.ndarray:
    [total] = instance.totals
    widths = {choice.name: choice.widths[number] for choice, number in zip(instance.choices, combination, strict=True)}
    channels = total.fixed + sum(each * widths[name] for name, each in total.terms)
    numbers = [*combination, next(number for number, size in enumerate(total.sizes) if size >= channels)]
    unary = [item.cost[:, number] for item, number in zip((*instance.choices, total), numbers, strict=True)]
    pairs = [pair.cost[:, numbers[pair.first], numbers[pair.second]] for pair in instance.pairs]
    return instance.constant + sum(unary) + sum(pairs)


def loss(instance: Instance, combination: tuple[int, ...]) -> float:
    return float(sum(item.loss[number] for item, number in zip(instance.choices, combination, strict=True)))


def numbers_of(instance: Instance, widths: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(choice.widths.index(widths[choice.name]) for choice in instance.choices)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), groups=st.integers(2, 5), tightness=st.floats(0.0, 1.0))
def test_it_is_exact(seed, groups, tightness):
    instance = random_instance(seed, groups, tightness)
    within = [some for some in allowed(instance) if np.all(cost(instance, some) <= instance.limit)]
    solution = solve(instance, gap=1e-9)
    if not within:
        assert solution is None
        return
    assert solution.loss == pytest.approx(min(loss(instance, some) for some in within), rel=1e-6, abs=1e-9)
    chosen = numbers_of(instance, solution.widths)
    assert chosen in allowed(instance)
    assert np.all(cost(instance, chosen) <= instance.limit + 1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), groups=st.integers(2, 5))
def test_the_cheapest_is_the_cheapest(seed, groups):
    instance = random_instance(seed, groups, 0.5)
    solution = solve_cheapest(instance, gap=1e-9)
    least = min(cost(instance, some)[0] for some in allowed(instance))
    assert cost(instance, numbers_of(instance, solution.widths))[0] == pytest.approx(least, rel=1e-6)


def test_an_infinite_loss_is_taken_only_where_nothing_else_will_do():
    loss = np.array([0.0, 1.0, np.inf])
    choice = Choice("g", (8, 4, 0), loss, np.array([[1.0, 0.5, 0.1]]))
    for limit, width in ((1.0, 8), (0.5, 4), (0.2, 0)):
        instance = Instance([choice], [], [], {"g": ("g",)}, np.zeros(1), np.array([limit]))
        assert solve(instance).widths == {"g": width}


def test_limits_that_nothing_meets_have_no_solution():
    choice = Choice("g", (8, 4), np.array([0.0, 1.0]), np.array([[1.0, 0.5]]))
    assert solve(Instance([choice], [], [], {}, np.zeros(1), np.array([0.4]))) is None
