import numpy as np
import pytest

from toolchain.recovery import elimination
from toolchain.recovery.elimination import Consumer, eliminate

RIDGE = 1e-3


def consumer(units=10, size=3, outputs=7, others=0, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    unknowns = units * size + others
    samples = rng.standard_normal((500, unknowns)) @ rng.standard_normal((unknowns, unknowns))
    blocks = rng.permutation(unknowns)[: units * size].reshape(units, size)
    return Consumer(np.cov(samples.T), rng.standard_normal((unknowns, outputs)), blocks, scale)


def loss_without(item, removed):
    """Solve the regression on what is left from scratch: E|W' x - V' x_left|^2."""
    damped = item.covariance + np.diag(np.diag(item.covariance)) * RIDGE
    gone = item.blocks[removed].reshape(-1).astype(int)
    left = np.setdiff1d(np.arange(len(damped)), gone)
    cross = damped[left] @ item.weight
    total = np.sum(item.weight * (damped @ item.weight))
    return item.scale * (total - np.sum(cross * np.linalg.solve(damped[np.ix_(left, left)], cross)))


def brute_force(consumers):
    left, order, losses = list(range(len(consumers[0].blocks))), [], [0.0]
    while left:
        costs = [sum(loss_without(item, [*order, unit]) for item in consumers) for unit in left]
        losses.append(min(costs))
        order.append(left.pop(int(np.argmin(costs))))
    return order, np.diff(losses)


@pytest.mark.parametrize(
    "consumers",
    [
        [consumer()],
        [consumer(others=5)],
        [consumer(outputs=60)],
        [consumer(), consumer(seed=1, size=1, scale=20.0), consumer(seed=2, size=9, outputs=2)],
    ],
    ids=["one", "with columns that stay", "more outputs than unknowns", "several consumers"],
)
def test_the_order_and_every_error_are_those_of_regressions_solved_from_scratch(consumers):
    found = eliminate(consumers, RIDGE)
    order, errors = brute_force(consumers)
    assert found.order.tolist() == order
    np.testing.assert_allclose(found.errors, errors, rtol=1e-6, atol=1e-7 * errors.sum())


def test_panels_change_no_error_of_the_removals_they_choose(monkeypatch):
    monkeypatch.setattr(elimination, "PANEL", 4)
    item = consumer(units=20)
    found = eliminate([item], RIDGE)
    losses = [loss_without(item, found.order[:count].tolist()) for count in range(21)]
    np.testing.assert_allclose(found.errors, np.diff(losses), rtol=1e-6, atol=1e-7 * losses[-1])


def test_of_two_units_that_say_the_same_one_goes_for_nothing_and_the_other_counts():
    item = consumer(units=6, size=1)
    twin = item.covariance.copy()
    twin[item.blocks[1]], twin[:, item.blocks[1]] = twin[item.blocks[0]], twin[:, item.blocks[0]]
    twin[item.blocks[1], item.blocks[1]] = twin[item.blocks[0], item.blocks[0]]
    found = eliminate([Consumer(twin, item.weight, item.blocks, 1.0)], 1e-9)
    assert found.order[0] in (0, 1)
    scores = found.scores()
    other = 1 - found.order[0]
    assert scores[found.order[0]] < 1e-5 * scores[other]


def test_scores_never_fall_in_the_order_of_removal():
    found = eliminate([consumer(units=30, size=2)], RIDGE)
    assert np.all(np.diff(found.scores()[found.order]) >= 0)
    assert sorted(found.order.tolist()) == list(range(30))


def test_inputs_that_never_vary_are_no_trouble():
    item = consumer(units=5, size=2)
    covariance = item.covariance.copy()
    covariance[item.blocks[3]] = 0
    covariance[:, item.blocks[3]] = 0
    found = eliminate([Consumer(covariance, np.where(covariance.any(1)[:, None], item.weight, 0), item.blocks, 1.0)], 0)
    assert found.order[0] == 3
    assert found.errors[0] == pytest.approx(0, abs=1e-9)
