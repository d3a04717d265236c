import pytest
from oracle import graph
from planning import TWO_BRANCHES, problem_of

from toolchain.strategies.exact.exchange import changes
from toolchain.strategies.joint import Joint, candidate_widths


@pytest.fixture
def problem():
    return problem_of(ratio=0.7, model=graph(TWO_BRANCHES))


@pytest.fixture
def found(problem):
    candidates = candidate_widths(Joint(), problem)
    losses = {(name, width): problem.loss(name, width) for name, widths in candidates.items() for width in widths}
    widths = {**{name: choices[0] for name, choices in candidates.items()}, "stem": 16, "a1": 16}
    return changes(candidates, losses, problem.latency, widths, 0.2), widths, problem.latency


def test_changes_cost_some_of_what_is_left_and_no_more(found):
    near, widths, latency = found
    assert near
    for change in near:
        assert 0 < change.cost <= 0.2
        assert change.cost == pytest.approx(latency.predict(change.widths) - latency.predict(widths), rel=1e-9)


def test_a_change_is_a_step_back_or_one_for_another(found):
    near, widths, _ = found
    steps = [{name for name in widths if change.widths[name] != widths[name]} for change in near]
    assert {len(changed) for changed in steps} == {1, 2}
    for change, changed in zip(near, steps, strict=True):
        assert sum(change.widths[name] > widths[name] for name in changed) == 1


def test_those_that_win_back_most_come_first(found):
    gains = [change.gain for change in found[0]]
    assert gains == sorted(gains, reverse=True)


def test_what_is_left_is_spent_on_a_network_that_diverges_less():
    problem = problem_of(ratio=0.72, model=graph(TWO_BRANCHES))
    rough = Joint(regrow=False, tolerance=1.0).search(problem).best
    grown = Joint(tolerance=1.0).search(problem).best
    assert grown.met
    assert problem.divergence(grown.plan) <= problem.divergence(rough.plan)
