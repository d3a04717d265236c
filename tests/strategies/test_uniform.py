import pytest
from planning import problem_of, widths_of

from toolchain.strategies.uniform import Uniform


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])
def test_the_budget_is_met_by_what_was_timed(ratio):
    found = Uniform().search(problem_of(ratio=ratio))
    assert found.met
    assert found.best in found.trials
    assert found.best.comparison.high <= ratio


def test_the_widest_network_within_the_budget_is_chosen():
    found = Uniform().search(problem_of(ratio=0.6))
    within = [trial.comparison.ratio for trial in found.trials if trial.met]
    assert found.best.comparison.ratio == max(within)


def test_all_groups_get_one_ratio_rounded_to_what_the_target_likes():
    problem = problem_of(ratio=0.5)
    for trial in Uniform().search(problem).trials:
        stem, body = widths_of(problem, trial).values()
        assert stem == body  # They are equally wide.
        assert stem == 32 or stem % 8 == 0 or stem == 4


def test_no_plan_is_timed_twice():
    problem = problem_of(ratio=0.5)
    plans = [trial.plan for trial in Uniform().search(problem).trials]
    assert len(plans) == len(set(plans))


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = Uniform().search(problem_of(ratio=0.001))
    assert not found.met
    assert found.best.comparison.ratio == min(trial.comparison.ratio for trial in found.trials)


def test_the_null_target_will_do(tmp_path):
    problem = problem_of(ratio=0.6, folder=tmp_path)
    found = Uniform().search(problem)
    assert found.met
    assert not found.best.comparison.measured
