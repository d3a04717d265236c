from dataclasses import replace

from planning import comparison, problem_of

from toolchain.measure.care import Care
from toolchain.strategies.confirm import confirmed
from toolchain.strategies.greedy import Greedy
from toolchain.strategies.uniform import Uniform


def with_a_slower_second_look(problem, by):
    """Return the problem on a machine that is slower by a factor whenever something is timed for the report."""
    looks = []

    def time_plan(plan, cost, care, limit):
        found = problem.time_plan(plan, cost, care, limit)
        looks.append(care)
        return comparison(found.ratio * by) if care is Care.FINAL else found

    return replace(problem, time_plan=time_plan), looks


def test_a_result_that_is_confirmed_is_searched_once():
    problem, looks = with_a_slower_second_look(problem_of(0.6), 1.0)
    found = confirmed(Greedy(), problem)
    assert found.met
    assert looks.count(Care.FINAL) == 1


def test_a_result_that_is_over_the_budget_after_all_is_searched_again_below_it():
    problem, looks = with_a_slower_second_look(problem_of(0.6), 1.05)
    found = confirmed(Greedy(), problem)
    assert found.met
    assert found.best.comparison.ratio * 1.05 <= 0.6
    assert looks.count(Care.FINAL) > 1
    assert any("searched again, below" in note for note in found.notes)
    assert len({trial.plan for trial in found.trials}) == len(found.trials)


def test_where_nothing_faster_is_found_the_first_result_stays():
    problem, looks = with_a_slower_second_look(problem_of(0.6), 10.0)
    found = confirmed(Uniform(), problem)
    assert found.best is not None
    assert found.best.comparison.ratio <= 0.6
    assert looks.count(Care.FINAL) == 1


def test_a_search_that_missed_the_budget_is_not_timed_once_more():
    problem, looks = with_a_slower_second_look(problem_of(0.001), 1.0)
    assert not confirmed(Greedy(), problem).met
    assert Care.FINAL not in looks
