from dataclasses import replace

import pytest
from planning import problem_of, widths_of

from toolchain.strategies.greedy import Greedy


def test_the_budget_is_met_by_what_was_timed():
    found = Greedy().search(problem_of(ratio=0.6))
    assert found.met
    assert found.best in found.trials
    assert found.best.comparison.high <= 0.6


def test_what_is_left_of_the_budget_is_spent():
    found = Greedy(step=1.0).search(problem_of(ratio=0.6))
    fastest = min(trial.comparison.ratio for trial in found.trials)
    assert fastest <= found.best.comparison.ratio <= 0.6


def test_only_widths_that_the_target_likes_are_chosen():
    problem = problem_of(ratio=0.5)
    for trial in Greedy().search(problem).trials:
        assert all(width == 32 or width % 8 == 0 or width in (4,) for width in widths_of(problem, trial).values())


def test_the_group_that_saves_most_per_loss_goes_first():
    for cheap, dear in (("stem", "body"), ("body", "stem")):
        problem = problem_of(ratio=0.8, weight={cheap: 1e-6, dear: 1.0})
        widths = widths_of(problem, Greedy().search(problem).best)
        assert widths[cheap] < widths[dear]


def test_the_least_important_units_go():
    problem = problem_of(ratio=0.7)
    plan = Greedy().search(problem).best.plan
    for removal in plan.removals:
        importance = problem.importance[removal.group]
        kept = sorted(set(range(len(importance))) - set(removal.positions))
        assert importance[list(removal.positions)].max() <= importance[kept].min()


def test_a_group_whose_narrowing_gains_nothing_gives_way_to_others():
    # The clock sees the body alone, though by its operations the stem would be the better bargain.
    problem = problem_of(ratio=0.7, weight={"stem": 1e-3, "body": 1.0}, sees=("body",))
    found = Greedy().search(problem)
    assert found.met
    assert widths_of(problem, found.best)["body"] < 32


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Greedy().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


@pytest.mark.parametrize("count", ["macs", "parameters"])
def test_a_count_alone_is_met_also_where_no_width_saves_a_block_of_the_target(count):
    problem = problem_of(1.0)
    total = problem.cost_model.total
    coarse = replace(problem.alignment, preferred=64)
    limits = replace(problem.limits, **{count: int(0.6 * getattr(total, count))})
    found = Greedy().search(replace(problem, alignment=coarse, limits=limits))
    assert found.met
    assert 0.5 < getattr(found.best.cost, count) / getattr(total, count) <= 0.6
    assert len(found.trials) < 10


def test_no_more_engines_are_built_than_allowed():
    assert len(Greedy(max_trials=2, step=0.01).search(problem_of(ratio=0.1)).trials) <= 2


def test_nothing_to_narrow_finds_nothing():
    found = Greedy().search(problem_of(ratio=0.5, width=4))
    assert (found.best, found.trials, found.met) == (None, (), False)


def test_the_search_is_deterministic():
    first, second = (Greedy().search(problem_of(ratio=0.5)).best.plan for _ in range(2))
    assert first == second
