import pytest
from oracle import graph
from planning import TWO_BRANCHES, problem_of

from toolchain.strategies.contract import Found
from toolchain.strategies.exact.exchange import changes
from toolchain.strategies.joint import Joint, _Search, candidate_widths


def searched(problem, **options):
    strategy = Joint(**options)
    return _Search(strategy, problem, candidate_widths(strategy, problem))


@pytest.fixture
def measured():
    """Return a problem, an engine a little over its budget, and a much narrower one within."""
    problem = problem_of(ratio=0.6, model=graph(TWO_BRANCHES))
    full = {group.name: group.width for group in problem.analysis.prunable_groups}
    over = problem.attempt({**full, "a1": 16, "b1": 24})
    within = problem.attempt({**full, "stem": 16, "a1": 8, "b1": 8})
    assert not over.met
    assert within.met
    return problem, over, within


def test_next_to_a_better_network_that_is_too_slow_is_the_best_one_within(measured):
    problem, over, within = measured
    assert problem.divergence(over.plan) < problem.divergence(within.plan)
    regrowing = searched(problem, max_builds=3).regrowing()
    grown = regrowing.grown(Found(within, (over, within), True))
    assert grown.best.met
    assert problem.divergence(grown.best.plan) < 0.95 * problem.divergence(within.plan)
    near = changes(
        regrowing.candidates,
        problem.latency,
        regrowing.widths_of(over.plan),
        problem.ratio - over.comparison.high,
    )
    assert regrowing.widths_of(grown.best.plan) in near


def test_the_best_of_the_engines_within_is_kept_not_the_one_that_uses_most(measured):
    problem, _, within = measured
    full = {group.name: group.width for group in problem.analysis.prunable_groups}
    worse = min(
        (problem.attempt({**full, "stem": width, "a1": 16, "b1": 16}) for width in (16, 24)),
        key=lambda trial: trial.comparison.ratio,
    )
    trials = (within, worse)
    best = min((trial for trial in trials if trial.met), key=lambda trial: problem.divergence(trial.plan))
    grown = searched(problem, max_builds=2).regrowing().grown(Found(within, trials, True))
    assert grown.best == best


def test_no_more_engines_are_built_than_may_be(measured):
    problem, over, within = measured
    grown = searched(problem, max_builds=3).regrowing().grown(Found(within, (over, within), True))
    assert len(grown.trials) <= 3


def test_without_judging_the_losses_choose(measured):
    problem, over, within = measured
    regrowing = searched(problem, max_builds=3, judged=False).regrowing()
    grown = regrowing.grown(Found(within, (over, within), True))
    assert regrowing.divergence is None
    loss = {trial: sum(regrowing.losses[p] for p in regrowing.widths_of(trial.plan).items()) for trial in grown.trials}
    assert loss[grown.best] <= loss[within]
