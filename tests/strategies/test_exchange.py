import pytest
from oracle import graph
from planning import TWO_BRANCHES, problem_of

from toolchain.strategies.exact.exchange import changes
from toolchain.strategies.joint import Joint, candidate_widths


@pytest.fixture
def problem():
    return problem_of(ratio=0.7, model=graph(TWO_BRANCHES))


@pytest.fixture
def near(problem):
    candidates = candidate_widths(Joint(), problem)
    widths = {**{name: choices[0] for name, choices in candidates.items()}, "stem": 16, "a1": 16}
    latency = problem.latency

    def find(spare):
        return changes(candidates, latency, widths, spare), widths, latency

    return find


def changed(change, widths):
    """Return what gets wider, and what gets narrower."""
    wider = {name for name in widths if change[name] > widths[name]}
    return wider, {name for name in widths if change[name] < widths[name]}


@pytest.mark.parametrize("spare", [0.2, 0.0, -0.05])
def test_changes_cost_no_more_than_what_is_left(near, spare):
    found, widths, latency = near(spare)
    assert found
    for change in found:
        assert latency.predict(change) - latency.predict(widths) <= spare + 1e-12


def test_where_something_is_left_a_change_is_a_step_back_or_one_for_another(near):
    found, widths, _ = near(0.2)
    steps = [changed(change, widths) for change in found]
    assert {(len(wider), len(narrower)) for wider, narrower in steps} == {(1, 0), (1, 1)}


def test_over_the_budget_a_change_may_be_a_step_down_alone(near):
    found, widths, _ = near(-0.05)
    steps = [changed(change, widths) for change in found]
    assert (0, 1) in {(len(wider), len(narrower)) for wider, narrower in steps}


def test_nothing_near_makes_up_for_more_than_a_step(near):
    assert not near(-0.9)[0]


def test_what_is_left_is_spent_on_a_network_that_diverges_less():
    problem = problem_of(ratio=0.72, model=graph(TWO_BRANCHES))
    rough = Joint(regrow=False, tolerance=1.0).search(problem).best
    grown = Joint(tolerance=1.0).search(problem).best
    assert grown.met
    assert problem.divergence(grown.plan) <= problem.divergence(rough.plan)
